/* binary.h - the body, compiled once for each ISA. */
#ifndef PCX_BINARY_H
#define PCX_BINARY_H

#include "../common/act_loop.h"
#include "../common/walk.h"

#include <math.h>

PCX_HIDDEN pcx_run_fn binary_avx2;

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
            pcx_act_loop(out, out, at.n, p->act, p->act_params);
        else if (p->act != PCX_ACT_NONE)
            for (size_t j = 0; j < at.n; j++)
                out[j * so] = pcx_act(out[j * so], p->act, p->act_params);
    }
}

#endif
