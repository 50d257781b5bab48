/* lut.c - one load per element; a table of 256 does not fit vector registers. */
#include "../common/walk.h"

static walk lut_walk(const void *args)
{
    const pcx_lut_args *p = args;
    walk w = { .operands = 3,
               .rank = 2,
               .count = { p->m, p->n },
               .stride = { { p->ldx, 1 }, { 0, p->tables > 1 && p->tables >= p->n ? 256 : 0 }, { p->ldo, 1 } } };
    walk_finish(&w);
    return w;
}

static size_t lut_units(const void *args)
{
    const walk w = lut_walk(args);
    return walk_units(&w);
}

static void lut_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_lut_args *p = args;
    const walk w = lut_walk(args);
    const size_t sx = walk_step(&w, 0), st = walk_step(&w, 1), so = walk_step(&w, 2);
    (void)scratch;
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const uint8_t *x = p->x + at.offset[0], *table = p->table + at.offset[1];
        uint8_t *out = p->out + at.offset[2];
        if (sx == 1 && st == 0 && so == 1)
            for (size_t j = 0; j < at.n; j++)
                out[j] = table[x[j]];
        else
            for (size_t j = 0; j < at.n; j++)
                out[j * so] = table[j * st + x[j * sx]];
    }
}

static const pcx_impl lut_impls[] = {
    { "scalar", 0, lut_units, lut_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_lut = {
    "lut", 1,
    "m ldx n x:u8[m:ldx,n] tables table:u8[tables,256] ldo out:u8[m:ldo,n] where tables>=1",
    lut_impls,
};
