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

/* The same with a table for each column: rows are short, and all that a unit has left are taken at once. */
PCX_INLINE void lut_columns(size_t rows, size_t n, const uint8_t *x, size_t ldx, const uint8_t *table, uint8_t *out,
                            size_t ldo)
{
    for (; rows; rows--, x += ldx, out += ldo) {
        const uint8_t *t = table;
        size_t j = 0;
        for (; j + 8 <= n; j += 8, t += 8 * 256) {
            uint8_t y[8];
            for (size_t i = 0; i < 8; i++)
                y[i] = t[i * 256 + x[j + i]];
            memcpy(out + j, y, 8);
        }
        for (; j < n; j++, t += 256)
            out[j] = t[x[j]];
    }
}

typedef void lut_columns_fn(size_t rows, size_t n, const uint8_t *x, size_t ldx, const uint8_t *table, uint8_t *out,
                            size_t ldo);

PCX_INLINE void lut_run(const void *args, size_t begin, size_t end, lut_row_fn *row, lut_columns_fn *columns)
{
    const pcx_lut_args *p = args;
    const walk w = lut_walk(args);
    const size_t sx = walk_step(&w, 0), st = walk_step(&w, 1), so = walk_step(&w, 2);
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const uint8_t *x = p->x + at.offset[0], *table = p->table + at.offset[1];
        uint8_t *out = p->out + at.offset[2];
        if (sx == 1 && st == 0 && so == 1) {
            row(at.n, x, table, out);
        } else if (sx == 1 && st == 256 && so == 1 && w.rank == 2 && w.row_units == 1) {
            columns(at.stop - at.row + 1, at.n, x, w.stride[0][0], table, out, w.stride[2][0]);
            at.row = at.stop;
        } else
            for (size_t j = 0; j < at.n; j++)
                out[j * so] = table[j * st + x[j * sx]];
    }
}

#endif
