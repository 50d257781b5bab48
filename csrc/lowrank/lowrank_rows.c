/* lowrank_rows.c - the driver: blocks of rows through a micro-kernel of sgemm twice: into scratch, and from there. */
#include "lowrank.h"

size_t lowrank_rows_units(const void *args, const sgemm_micro *micro)
{
    const pcx_lowrank_args *p = args;
    (void)micro;
    return ceil_div(p->m, lowrank_block(p->m));
}

size_t lowrank_rows_scratch(const void *args, const sgemm_micro *micro)
{
    const pcx_lowrank_args *p = args;
    (void)micro;
    return lowrank_block(p->m) * lowrank_width(p) * sizeof(float);
}

void lowrank_rows_run(const void *args, size_t begin, size_t end, void *scratch, const sgemm_micro *micro)
{
    const pcx_lowrank_args *p = args;
    const size_t block = lowrank_block(p->m), width = lowrank_width(p);
    lowrank_factors f;
    sgemm_rows first, second;
    lowrank_factors_make(p, &f);
    first.lines = first.runs = second.lines = second.runs = 1;
    first.line_step = first.run_step = second.line_step = second.run_step = 0;
    first.fresh = second.fresh = 0;
    first.length = p->k;
    second.length = p->r;
    for (size_t x = 0; x < block; x++)
        second.a[x] = first.out[x] = (float *)scratch + x * width;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t row = unit * block;
        first.count = second.count = min_size(block, p->m - row);
        for (size_t x = 0; x < first.count; x++) {
            first.a[x] = p->a + (row + x) * p->lda;
            second.out[x] = p->out + (row + x) * p->ldo;
            second.residual[x] = p->tail.residual ? p->tail.residual + (row + x) * p->tail.ldr : NULL;
        }
        micro->run(&first, &f.u, 0, ceil_div(p->r, SGEMM_NR));
        micro->run(&second, &f.v, 0, ceil_div(p->n, SGEMM_NR));
    }
}
