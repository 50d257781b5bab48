/* compare.h - the body, compiled once for each ISA. */
#ifndef PCX_COMPARE_H
#define PCX_COMPARE_H

#include "../common/walk.h"

PCX_HIDDEN pcx_run_fn compare_avx2;

PCX_INLINE walk compare_walk(const void *args)
{
    walk w;
    walk_extents(&w, 3, 6, WALK_SLOTS(args, pcx_compare_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_compare_args, a0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_compare_args, b0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_compare_args, o0), 1);
    walk_finish(&w);
    return w;
}

#define COMPARE_CASE(code, operator)                           \
    case code:                                                 \
        PCX_IVDEP                                              \
        for (size_t j = 0; j < n; j++)                         \
            out[j * so] = a[j * sa] operator b[j * sb];        \
        break

PCX_INLINE void compare_row(size_t op, size_t n, const float *a, size_t sa, const float *b, size_t sb, uint8_t *out,
                            size_t so)
{
    switch (op) {
        COMPARE_CASE(0, ==);
        COMPARE_CASE(1, <);
        COMPARE_CASE(2, <=);
        COMPARE_CASE(3, >);
    default:
        PCX_IVDEP
        for (size_t j = 0; j < n; j++)
            out[j * so] = a[j * sa] >= b[j * sb];
    }
}

PCX_INLINE void compare_run(const void *args, size_t begin, size_t end)
{
    const pcx_compare_args *p = args;
    const walk w = compare_walk(p);
    const size_t sa = walk_step(&w, 0), sb = walk_step(&w, 1), so = walk_step(&w, 2);
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const float *a = p->a + at.offset[0], *b = p->b + at.offset[1];
        uint8_t *out = p->out + at.offset[2];
        if (so == 1 && sa == 1 && sb == 1)
            compare_row(p->op, at.n, a, 1, b, 1, out, 1);
        else if (so == 1 && sa == 1 && sb == 0)
            compare_row(p->op, at.n, a, 1, b, 0, out, 1);
        else
            compare_row(p->op, at.n, a, sa, b, sb, out, so);
    }
}

#endif
