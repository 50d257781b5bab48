/* lut.h - the walk over rows, and scalar. */
#ifndef PCX_LUT_H
#define PCX_LUT_H

#include "../common/walk.h"

PCX_HIDDEN pcx_run_fn lut_avx512, lut_avx512vbmi;

static inline walk lut_walk(const void *args)
{
    const pcx_lut_args *p = args;
    walk w = { .operands = 3,
               .rank = 2,
               .count = { p->m, p->n },
               .stride = { { p->ldx, 1 }, { 0, p->tables > 1 && p->tables >= p->n ? 256 : 0 }, { p->ldo, 1 } } };
    walk_finish(&w);
    return w;
}

/* out[j] = table[x[j]]. */
typedef void lut_row_fn(size_t n, const uint8_t *x, const uint8_t *table, uint8_t *out);

PCX_INLINE void lut_row(size_t n, const uint8_t *x, const uint8_t *table, uint8_t *out)
{
    for (size_t j = 0; j < n; j++)
        out[j] = table[x[j]];
}

PCX_INLINE void lut_run(const void *args, size_t begin, size_t end, lut_row_fn *row)
{
    const pcx_lut_args *p = args;
    const walk w = lut_walk(args);
    const size_t sx = walk_step(&w, 0), st = walk_step(&w, 1), so = walk_step(&w, 2);
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const uint8_t *x = p->x + at.offset[0], *table = p->table + at.offset[1];
        uint8_t *out = p->out + at.offset[2];
        if (sx == 1 && st == 0 && so == 1)
            row(at.n, x, table, out);
        else
            for (size_t j = 0; j < at.n; j++)
                out[j * so] = table[j * st + x[j * sx]];
    }
}

#endif
