/* act_loop.h - y = act(x) over a row; inlined, so compiled for the ISA of its caller. */
#ifndef PCX_ACT_LOOP_H
#define PCX_ACT_LOOP_H

#include "act.h"

#define PCX_ACT_CASE(code)                 \
    case code:                             \
        PCX_IVDEP                          \
        for (size_t j = 0; j < n; j++)     \
            y[j] = act_apply(x[j], code, q); \
        break

/* x and y are the same or do not overlap. */
PCX_INLINE void act_loop_run(const float *x, float *y, size_t n, size_t act, const float *p)
{
    const float q[2] = { p[0], p[1] };
    switch (act) {
        PCX_ACT_CASE(PCX_ACT_RELU);
        PCX_ACT_CASE(PCX_ACT_CLIP);
        PCX_ACT_CASE(PCX_ACT_LEAKY);
        PCX_ACT_CASE(PCX_ACT_HARDSIGMOID);
        PCX_ACT_CASE(PCX_ACT_HARDSWISH);
        PCX_ACT_CASE(PCX_ACT_SIGMOID);
        PCX_ACT_CASE(PCX_ACT_SILU);
        PCX_ACT_CASE(PCX_ACT_TANH);
    default:
        if (x != y)
            memmove(y, x, n * sizeof *y);
    }
}

#endif
