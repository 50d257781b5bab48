/* act.h - the float activations, one element at a time; see PCX_ACT_* for their meaning. */
#ifndef PCX_ACT_H
#define PCX_ACT_H

#include "pcx.h"

#include <math.h>

/*
 * c ? a : b without a branch.  GCC turns a sequence of ?: on comparisons with constants into control flow, which it
 * does not vectorise; it turns masks into blends.
 */
PCX_INLINE float act_either(int c, float a, float b)
{
    const uint32_t mask = 0u - (uint32_t)c;
    uint32_t u, v;
    memcpy(&u, &a, 4);
    memcpy(&v, &b, 4);
    u = (u & mask) | (v & ~mask);
    memcpy(&a, &u, 4);
    return a;
}

/*
 * a * b + c rounded once where the CPU has no such operation: the sum of doubles, which is exact but for its own rounding, is
 * rounded to odd, so that rounding it to float is the only one that matters.
 */
PCX_MAYBE_UNUSED PCX_NOINLINE PCX_COLD static float act_fma_of_doubles(float a, float b, float c)
{
    const double product = (double)a * b;
    double sum = product + c;
    const double back = sum - product, error = (product - (sum - back)) + (c - back); /* NaN where sum is not finite */
    int64_t bits;
    memcpy(&bits, &sum, 8);
    const int64_t step = (error > 0) == (sum > 0) ? 1 : -1, inexact = error < 0 || error > 0;
    bits += step & -(inexact & ~bits);
    memcpy(&sum, &bits, 8);
    return (float)sum;
}

/* a * b + c rounded once: the same bytes on every ISA.  `native`, a constant: the CPU has this operation. */
PCX_INLINE float act_fma(float a, float b, float c, const int native)
{
    return native ? __builtin_fmaf(a, b, c) : act_fma_of_doubles(a, b, c);
}

/*
 * e^x = 2^n e^r, |r| <= ln2 / 2; C2 to C6 of e^r - 1 - r, whose error relative to e^r is below 2^-28.  The magic number adds
 * the exponent's bias to n, so that a shift makes 2^n, which is 0 from -87.7 down.  The last two of six FMA round: below
 * 1.5 * 2^-24 together, and with n * ln2, whose low part is off by 2^-57, below 2 * 2^-24.
 */
#define ACT_EXP_MIN   -88.0f
#define ACT_EXP_MAGIC 12583039.0f /* 1.5 * 2^23 + 127 */
#define ACT_EXP_LOG2E 1.44269504f
#define ACT_EXP_LN2   0.693147182f
#define ACT_EXP_LN2_LOW -1.90465421e-9f
#define ACT_EXP_C6 1.3818742e-3f
#define ACT_EXP_C5 8.36872123e-3f
#define ACT_EXP_C4 4.16682921e-2f
#define ACT_EXP_C3 0.166665211f
#define ACT_EXP_C2 0.49999994f

/* e^r of x; *shifted is n + ACT_EXP_MAGIC.  |n| < 2^22. */
PCX_INLINE float act_exp_rest(float x, float *shifted, const int native)
{
    *shifted = act_fma(x, ACT_EXP_LOG2E, ACT_EXP_MAGIC, native);
    const float n = *shifted - ACT_EXP_MAGIC;
    float r = act_fma(-n, ACT_EXP_LN2, x, native);
    r = act_fma(-n, ACT_EXP_LN2_LOW, r, native);
    float y = act_fma(ACT_EXP_C6, r, ACT_EXP_C5, native);
    y = act_fma(y, r, ACT_EXP_C4, native);
    y = act_fma(y, r, ACT_EXP_C3, native);
    y = act_fma(y, r, ACT_EXP_C2, native);
    y = act_fma(y, r, 1, native);
    return act_fma(y, r, 1, native);
}

/* act_exp by FMA: half as many operations. */
PCX_INLINE float act_exp_fma(float x, const int native)
{
    float shifted, power;
    x = act_either(x < ACT_EXP_MIN, ACT_EXP_MIN, x);
    x = act_either(x > 88.8f, 88.8f, x);
    const float y = act_exp_rest(x, &shifted, native);
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits <<= 23;
    memcpy(&power, &bits, 4);
    return y * power;
}

/*
 * exp by 2^n * exp(r), |r| <= ln2 / 2, degree 7 polynomial; relative error < 2^-22 in [-87.3, 88.3], branch-free so
 * that compilers vectorise loops over it.  Beyond, arguments are clamped to where the power of two becomes 0 or infinity:
 * exp is 0 from -87.7 down, and infinity from 88.4 up.
 */
PCX_INLINE float act_exp(float x)
{
    x = act_either(x < -88.0f, -88.0f, x);
    x = act_either(x > 88.8f, 88.8f, x);
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to the nearest integer */
    const float shifted = x * 1.44269504f + magic;
    const float n = shifted - magic;
    float r = x - n * 0.693359375f;
    r -= n * -2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    uint32_t bits; /* unsigned: of a NaN they are anything */
    memcpy(&bits, &shifted, 4);
    bits = (bits - 0x4b400000u + 127u) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return y * scale;
}

/* 0 from -88.4 down, so that x * sigmoid(x) goes to -0; at minus infinity that product is NaN, as in onnxruntime. */
PCX_INLINE float act_sigmoid(float x) { return 1.0f / (1.0f + act_exp(-x)); }

/* tanh: odd; small arguments by their series, since 2 sigmoid(2x) - 1 cancels there. */
PCX_INLINE float act_tanh(float x)
{
    const float z = x * x;
    const float small = x + x * z * (-0.333332f + z * (0.133209f + z * -0.0519f));
    const float large = 1.0f - 2.0f / (1.0f + act_exp(2.0f * x));
    return act_either(z < 0.0625f, small, large);
}

PCX_INLINE float act_unit(float x)
{
    x = act_either(x < 0, 0, x);
    return act_either(x > 1, 1, x);
}

PCX_INLINE float act_apply(float x, size_t act, const float *p)
{
    float y;
    switch (act) {
    case PCX_ACT_RELU: return x > 0 ? x : (x != x ? x : 0);
    case PCX_ACT_CLIP: y = x < p[0] ? p[0] : x; return y > p[1] ? p[1] : y;
    case PCX_ACT_LEAKY: return x < 0 ? p[0] * x : x;
    case PCX_ACT_HARDSIGMOID: return act_unit(p[0] * x + p[1]);
    case PCX_ACT_HARDSWISH: return x * act_unit(x * (1.0f / 6) + 0.5f);
    case PCX_ACT_SIGMOID: return act_sigmoid(x);
    case PCX_ACT_SILU: return x * act_sigmoid(x);
    case PCX_ACT_TANH: return act_tanh(x);
    default: return x;
    }
}

/* The activations up to PCX_ACT_CLIP are a min and a max, which kernels keep in registers. */
PCX_INLINE void act_bounds(size_t act, const float *p, float *min, float *max)
{
    *min = act == PCX_ACT_CLIP ? p[0] : act == PCX_ACT_RELU ? 0 : -INFINITY;
    *max = act == PCX_ACT_CLIP ? p[1] : INFINITY;
}

#endif
