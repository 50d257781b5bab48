/* csrmv.h - what the csrmv files share: the units, and what follows the sums. */
#ifndef PCX_CSRMV_H
#define PCX_CSRMV_H

#include "../sgemm/sgemm.h"

/* Rows of one unit of work: enough for a thread; there are at most 256 units. */
PCX_INLINE size_t csrmv_rows(const pcx_csrmv_args *p)
{
    enum { WORTH = 8192, MAX = 256 }; /* products */
    const size_t units = max_size(1, min_size(MAX, p->nnz / WORTH));
    return max_size(1, ceil_div(p->n, units));
}

static inline size_t csrmv_units(const void *args)
{
    const pcx_csrmv_args *p = args;
    return ceil_div(p->n, csrmv_rows(p));
}

/* The sum of one row, without its bias. */
typedef float csrmv_sum(const pcx_csrmv_args *p, size_t begin, size_t end);

/* Do the units [begin, end); an ISA supplies only the sum. */
PCX_INLINE void csrmv_walk(const pcx_csrmv_args *p, size_t begin, size_t end, csrmv_sum *sum_of)
{
    enum { TOGETHER = 64 };
    const size_t each = csrmv_rows(p), stop = min_size(end * each, p->n);
    float sum[TOGETHER];
    for (size_t first = begin * each, next; first < stop; first = next) {
        next = min_size(first + TOGETHER, stop);
        for (size_t r = first; r < next; r++) {
            const int32_t from = p->rows[r], to = p->rows[r + 1];
            sum[r - first] = to > from ? sum_of(p, (size_t)from, (size_t)to) : 0;
            if (p->tail.bias)
                sum[r - first] += p->tail.bias[r];
        }
        sgemm_finish(&p->tail, sum, p->tail.residual ? p->tail.residual + first : NULL, p->out + first, next - first);
    }
}

#if PCX_X86
PCX_HIDDEN void csrmv_avx2(const void *args, size_t begin, size_t end, void *scratch);
#endif
#if PCX_ARM64
PCX_HIDDEN void csrmv_neon(const void *args, size_t begin, size_t end, void *scratch);
#endif

#endif
