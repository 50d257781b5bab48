/* unary.c - loops, compiled once for each ISA. */
#include "../common/act_loop.h"
#include "../common/walk.h"

#include <math.h>

PCX_INLINE walk unary_walk(const void *args)
{
    const pcx_unary_args *p = args;
    walk w = { .operands = 2,
               .rank = 2,
               .count = { p->m, p->n },
               .stride = { { p->ldx, 1 }, { p->ldo, 1 } } };
    walk_finish(&w);
    return w;
}

/* act_exp over the whole range of floats: the power of two is applied in two halves. */
PCX_INLINE float unary_exp(float x)
{
    x = act_either(x < -104.0f, -104.0f, x);
    x = act_either(x > 89.0f, 89.0f, x);
    const float magic = 12582912.0f, shifted = x * 1.44269504f + magic, n = shifted - magic;
    float r = x - n * 0.693359375f;
    r -= n * -2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (int32_t)((uint32_t)bits - 0x4b400000u);
    const uint32_t half = (uint32_t)(bits >> 1), rest = (uint32_t)bits - half;
    const uint32_t low = (half + 127u) << 23, high = (rest + 127u) << 23;
    float a, b;
    memcpy(&a, &low, 4);
    memcpy(&b, &high, 4);
    return y * a * b;
}

/* x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2); past 20 it is x. */
PCX_INLINE float unary_mish(float x)
{
    const float e = act_exp(act_either(x > 20.0f, 20.0f, x)), n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
}

/* (1 + tanh(u)) / 2 = sigmoid(2u), which does not cancel. */
PCX_INLINE float unary_gelu_tanh(float x)
{
    return x * act_sigmoid(1.59576912f * (x + 0.044715f * x * x * x));
}

#define UNARY_CASE(code, value)            \
    case code:                             \
        PCX_IVDEP                          \
        for (size_t j = 0; j < n; j++) {   \
            const float v = x[j];          \
            y[j] = value;                  \
        }                                  \
        break

/* x and y are the same or do not overlap. */
PCX_INLINE void unary_row(size_t op, size_t n, const float *x, float *y, float p, float q)
{
    switch (op) {
        UNARY_CASE(PCX_UNARY_EXP, unary_exp(v));
        UNARY_CASE(PCX_UNARY_SQRT, sqrtf(v));
        UNARY_CASE(PCX_UNARY_LOG, logf(v));
        UNARY_CASE(PCX_UNARY_ABS, fabsf(v));
        UNARY_CASE(PCX_UNARY_NEG, -v);
        UNARY_CASE(PCX_UNARY_FLOOR, floorf(v));
        UNARY_CASE(PCX_UNARY_CEIL, ceilf(v));
        UNARY_CASE(PCX_UNARY_ROUND, rintf(v));
        UNARY_CASE(PCX_UNARY_RECIPROCAL, 1.0f / v);
        UNARY_CASE(PCX_UNARY_ERF, erff(v));
        UNARY_CASE(PCX_UNARY_GELU, 0.5f * v * erfcf(v * -0.707106781f));
        UNARY_CASE(PCX_UNARY_GELU_TANH, unary_gelu_tanh(v));
        UNARY_CASE(PCX_UNARY_ELU, v < 0 ? p * expm1f(v) : v);
        UNARY_CASE(PCX_UNARY_SELU, q * (v < 0 ? p * expm1f(v) : v));
        UNARY_CASE(PCX_UNARY_SOFTPLUS, (v > 0 ? v : 0) + log1pf(unary_exp(-fabsf(v))));
        UNARY_CASE(PCX_UNARY_SOFTSIGN, v / (1.0f + fabsf(v)));
        UNARY_CASE(PCX_UNARY_MISH, unary_mish(v));
        UNARY_CASE(PCX_UNARY_THRESHOLDED_RELU, v > p ? v : 0);
        UNARY_CASE(PCX_UNARY_CELU, v < 0 ? p * expm1f(v / p) : v);
        UNARY_CASE(PCX_UNARY_SIGN, act_either(v > 0, 1.0f, act_either(v < 0, -1.0f, v)));
        UNARY_CASE(PCX_UNARY_SWISH, v * act_sigmoid(p * v));
        UNARY_CASE(PCX_UNARY_SIN, sinf(v));
    default:
        for (size_t j = 0; j < n; j++)
            y[j] = cosf(x[j]);
    }
}

PCX_INLINE void unary_run(const void *args, size_t begin, size_t end)
{
    const pcx_unary_args *p = args;
    const walk w = unary_walk(p);
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w))
        if (p->op < PCX_ACT_COUNT)
            act_loop_run(p->x + at.offset[0], p->out + at.offset[1], at.n, p->op, p->params);
        else
            unary_row(p->op, at.n, p->x + at.offset[0], p->out + at.offset[1], p->params[0], p->params[1]);
}

static size_t unary_units(const void *args)
{
    const walk w = unary_walk(args);
    return walk_units(&w);
}

PCX_LOOPS_512(unary)

const pcx_kernel pcx_unary = {
    "unary", 1,
    "m ldx n x:f32[m:ldx,n] op params:f32[2] ldo out:f32[m:ldo,n] where op<32",
    unary_impls,
};
