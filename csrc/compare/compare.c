/* compare.c - loops, compiled once for each ISA. */
#include "../common/walk.h"

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

static size_t compare_units(const void *args)
{
    const walk w = compare_walk(args);
    return walk_units(&w);
}

PCX_LOOPS(compare)

const pcx_kernel pcx_compare = {
    "compare", 1,
    "d0 a0 d1 a1 d2 a2 d3 a3 d4 a4 d5 a5 a:f32[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:f32[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] op "
    "o0 o1 o2 o3 o4 o5 out:bool[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5] where op<5",
    compare_impls,
};
