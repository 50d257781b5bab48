/* where.h - the body, compiled once for each ISA. */
#ifndef PCX_WHERE_H
#define PCX_WHERE_H

#include "../common/walk.h"

PCX_HIDDEN pcx_run_fn where_avx2;

PCX_INLINE walk where_walk(const void *args)
{
    walk w;
    walk_extents(&w, 4, 6, WALK_SLOTS(args, pcx_where_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_where_args, c0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_where_args, a0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_where_args, b0), 1);
    walk_strides(&w, 3, WALK_SLOTS(args, pcx_where_args, o0), 1);
    walk_finish(&w);
    return w;
}

PCX_INLINE void where_row(size_t n, const uint8_t *cond, size_t sc, const float *a, size_t sa, const float *b,
                          size_t sb, float *out, size_t so)
{
    PCX_IVDEP
    for (size_t j = 0; j < n; j++) {
        const float u = a[j * sa], v = b[j * sb];
        out[j * so] = cond[j * sc] ? u : v;
    }
}

PCX_INLINE void where_run(const void *args, size_t begin, size_t end)
{
    const pcx_where_args *p = args;
    const walk w = where_walk(p);
    const size_t sc = walk_step(&w, 0), sa = walk_step(&w, 1), sb = walk_step(&w, 2), so = walk_step(&w, 3);
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const uint8_t *cond = p->cond + at.offset[0];
        const float *a = p->a + at.offset[1], *b = p->b + at.offset[2];
        float *out = p->out + at.offset[3];
        if (so == 1 && sc == 1 && sa == 1 && sb == 1)
            where_row(at.n, cond, 1, a, 1, b, 1, out, 1);
        else if (so == 1 && sc == 1 && sa == 1 && sb == 0)
            where_row(at.n, cond, 1, a, 1, b, 0, out, 1);
        else
            where_row(at.n, cond, sc, a, sa, b, sb, out, so);
    }
}

#endif
