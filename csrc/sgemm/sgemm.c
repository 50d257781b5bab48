/* sgemm.c - scalar and the table. */
#include "sgemm.h"

#include "../runtime/act.h"

static size_t sgemm_units(const void *args) { return ((const pcx_sgemm_args *)args)->m; }

static void sgemm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_sgemm_args *p = args;
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j += SGEMM_NR) {
            const float *w = p->w + j / SGEMM_NR * p->ldw;
            float sum[SGEMM_NR] = { 0 };
            for (size_t q = 0; q < p->k; q++)
                for (size_t v = 0; v < SGEMM_NR; v++)
                    sum[v] += p->a[i * p->lda + q] * w[q * SGEMM_NR + v];
            const size_t row[1] = { i };
            sgemm_finish(&p->tail, p->out, p->ldo, row, 1, j, min_size(SGEMM_NR, p->n - j), sum, SGEMM_NR);
        }
}

void sgemm_finish(const pcx_epilogue *tail, float *out, size_t ldo, const size_t *row, size_t rows, size_t column,
                  size_t columns, const float *sum, size_t lds)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            float y = sum[i * lds + j];
            if (tail->bias)
                y += tail->bias[column + j];
            if (tail->residual)
                y += tail->residual[row[i] * tail->ldr + column + j];
            out[row[i] * ldo + column + j] = pcx_act(y, tail->act, tail->act_params);
        }
}

static const pcx_impl impls[] = {
    { "scalar", 0, sgemm_units, sgemm_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_sgemm = {
    "sgemm", 1,
    "m lda k a:f32[m:lda,k] n ldw w:f32[ceil(n/16):ldw,k,16] bias?:f32[n] act act_params:f32[2] "
    "ldr residual?:f32[m:ldr,n] ldo out:f32[m:ldo,n] where act<9,m<2147483648,n<2147483648,k<2147483648",
    impls,
};
