/* lowrank_avx2.c - block by block of rows, sgemm's tiles twice: once into scratch, once from there. */
#include "lowrank.h"

#if PCX_X86

/*
 * Rows of a block: enough to read the weights for, and few enough that the next product finds h near; the blocks as
 * equal as can be, and a multiple of four of them, so that no thread waits long for another.
 */
static size_t rows_of(const pcx_lowrank_args *p)
{
    enum { MOST = 8 * SGEMM_TALL, LEAST = 4 * SGEMM_TALL, EVENLY = 4 };
    const size_t blocks = round_up(max_size(ceil_div(p->m, MOST), 1), EVENLY);
    return max_size(ceil_div(p->m, blocks), LEAST);
}

size_t lowrank_units_avx2(const void *args)
{
    const pcx_lowrank_args *p = args;
    return ceil_div(p->m, rows_of(p));
}

size_t lowrank_scratch_avx2(const void *args)
{
    const pcx_lowrank_args *p = args;
    return rows_of(p) * lowrank_width(p) * sizeof(float);
}

void lowrank_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_lowrank_args *p = args;
    const size_t most = rows_of(p), width = lowrank_width(p);
    lowrank_factors f;
    sgemm_rows first, second;
    lowrank_factors_make(p, &f);
    first.lines = first.runs = second.lines = second.runs = 1;
    first.line_step = first.run_step = second.line_step = second.run_step = 0;
    first.length = p->k;
    second.length = p->r;
    for (size_t x = 0; x < most; x++)
        second.a[x] = first.out[x] = (float *)scratch + x * width;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t row = unit * most;
        first.count = second.count = min_size(most, p->m - row);
        for (size_t x = 0; x < first.count; x++) {
            first.a[x] = p->a + (row + x) * p->lda;
            second.out[x] = p->out + (row + x) * p->ldo;
            second.residual[x] = p->tail.residual ? p->tail.residual + (row + x) * p->tail.ldr : NULL;
        }
        sgemm_rows_avx2(&first, &f.u, 0, ceil_div(p->r, SGEMM_NR));
        sgemm_rows_avx2(&second, &f.v, 0, ceil_div(p->n, SGEMM_NR));
    }
}

#endif
