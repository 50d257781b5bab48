/*
 * csr.c - fuzzes the check of CSR arrays: what it allows is what a plain loop allows, and the products on it read nothing
 * beside the arrays.  An input is four bytes (whether numbers are wide; n, k, nnz), then `rows` and `index`.
 */
#include "../../csrc/pycompress.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t at(const void *x, size_t wide, size_t i)
{
    return wide ? ((const int64_t *)x)[i] : ((const int32_t *)x)[i];
}

/* What pcx_csr_check promises, word by word. */
static int allowed(size_t n, size_t k, size_t nnz, size_t wide, const void *rows, const void *index)
{
    if (at(rows, wide, 0) != 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (at(rows, wide, i + 1) < at(rows, wide, i) || at(rows, wide, i + 1) > (int64_t)nnz)
            return 0;
    for (size_t i = 0; i < (size_t)at(rows, wide, n); i++)
        if (at(index, wide, i) < 0 || at(index, wide, i) >= (int64_t)k)
            return 0;
    return 1;
}

/* W . x of ones counts each row's values, on every implementation that this CPU has, in arrays of exactly their size. */
static void multiply(size_t n, size_t k, size_t nnz, const int32_t *rows, const int32_t *index)
{
    float *w = malloc(nnz * sizeof *w + 1), *x = malloc(k * sizeof *x + 1), *out = malloc(n * sizeof *out + 1);
    for (size_t i = 0; i < nnz; i++)
        w[i] = 1;
    for (size_t i = 0; i < k; i++)
        x[i] = 1;
    pcx_csrmm_args args = { n, nnz, rows, k, index, PCX_F32, w, 1, 1, 1, x, 1, out };
    const pcx_impl *row = pcx_csrmm.impls;
    for (;; row++) {
        if (!(row->needs & ~pcx_cpu()) && pcx_call(NULL, &pcx_csrmm, row, &args))
            abort();
        for (size_t i = 0; i < n && !(row->needs & ~pcx_cpu()); i++)
            if (out[i] != (float)(rows[i + 1] - rows[i])) {
                fprintf(stderr, "row %zu of %s: %g\n", i, row->isa, (double)out[i]);
                abort();
            }
        if (!row->needs)
            break;
    }
    free(w);
    free(x);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    const size_t wide = data[0] & 1, width = wide ? 8 : 4, n = data[1], k = data[2], nnz = data[3];
    const size_t numbers = n + 1 + nnz, given = (size - 4) / width;
    if (given < numbers)
        return 0;
    uint8_t *rows = malloc((n + 1) * width), *index = malloc(nnz * width + 1);
    memcpy(rows, data + 4, (n + 1) * width);
    memcpy(index, data + 4 + (n + 1) * width, nnz * width);
    const int code = pcx_csr_check(n, k, nnz, wide ? PCX_I64 : PCX_I32, rows, index);
    if (code != (allowed(n, k, nnz, wide, rows, index) ? PCX_OK : PCX_BAD_ARGUMENT)) {
        fprintf(stderr, "the check says %d\n", code);
        abort();
    }
    if (!code && !wide)
        multiply(n, k, nnz, (const int32_t *)(const void *)rows, (const int32_t *)(const void *)index);
    free(rows);
    free(index);
    return 0;
}
