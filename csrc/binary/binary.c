/* binary.c - loops, compiled once for each ISA. */
#include "../common/act_loop.h"
#include "../common/walk.h"

#include <math.h>

PCX_INLINE walk binary_walk(const void *args)
{
    walk w;
    walk_extents(&w, 3, 6, WALK_SLOTS(args, pcx_binary_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_binary_args, a0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_binary_args, b0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_binary_args, o0), 1);
    walk_finish(&w);
    return w;
}

/* A NaN on either side gives NaN, as numpy.minimum says. */
PCX_INLINE float binary_min(float a, float b) { return a < b || a != a ? a : b; }
PCX_INLINE float binary_max(float a, float b) { return a > b || a != a ? a : b; }

#define BINARY_CASE(code, value)                                   \
    case code:                                                     \
        PCX_IVDEP                                                  \
        for (size_t j = 0; j < n; j++) {                           \
            const float u = a[j * sa], v = b[j * sb];              \
            out[j * so] = value;                                   \
        }                                                          \
        break

PCX_INLINE void binary_row(size_t op, size_t n, const float *a, size_t sa, const float *b, size_t sb, float *out,
                           size_t so)
{
    switch (op) {
        BINARY_CASE(0, u + v);
        BINARY_CASE(1, u - v);
        BINARY_CASE(2, u * v);
        BINARY_CASE(3, u / v);
        BINARY_CASE(4, powf(u, v));
        BINARY_CASE(5, binary_min(u, v));
        BINARY_CASE(6, binary_max(u, v));
        BINARY_CASE(7, u < 0 ? u * v : u);
    default:
        for (size_t j = 0; j < n; j++)
            out[j * so] = fmodf(a[j * sa], b[j * sb]);
    }
}

PCX_INLINE void binary_run(const void *args, size_t begin, size_t end)
{
    const pcx_binary_args *p = args;
    const walk w = binary_walk(p);
    const size_t sa = walk_step(&w, 0), sb = walk_step(&w, 1), so = walk_step(&w, 2);
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const float *a = p->a + at.offset[0], *b = p->b + at.offset[1];
        float *out = p->out + at.offset[2];
        if (so == 1 && sa == 1 && sb == 1)
            binary_row(p->op, at.n, a, 1, b, 1, out, 1);
        else if (so == 1 && sa == 1 && sb == 0)
            binary_row(p->op, at.n, a, 1, b, 0, out, 1);
        else if (so == 1 && sa == 0 && sb == 1)
            binary_row(p->op, at.n, a, 0, b, 1, out, 1);
        else
            binary_row(p->op, at.n, a, sa, b, sb, out, so);
        if (p->act != PCX_ACT_NONE && so == 1)
            act_loop_run(out, out, at.n, p->act, p->act_params);
        else if (p->act != PCX_ACT_NONE)
            for (size_t j = 0; j < at.n; j++)
                out[j * so] = act_apply(out[j * so], p->act, p->act_params);
    }
}

static size_t binary_units(const void *args)
{
    const walk w = binary_walk(args);
    return walk_units(&w);
}

PCX_LOOPS_512(binary)

const pcx_kernel pcx_binary = {
    "binary", 1,
    "d0 a0 d1 a1 d2 a2 d3 a3 d4 a4 d5 a5 a:f32[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:f32[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] op act act_params:f32[2] "
    "o0 o1 o2 o3 o4 o5 out:f32[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5] where op<9,act<9",
    binary_impls,
};
