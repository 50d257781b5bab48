/* unary.c - loops, compiled once for each ISA. */
#include "../common/act_loop.h"
#include "../common/walk.h"
#include "unary_angles.h"

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

/* act_exp over the whole range of floats, times a power of two: the other one is applied in two halves. */
PCX_INLINE float unary_exp_times(float x, const float factor, const int native)
{
    float shifted, a, b;
    x = act_either(x < -104.0f, -104.0f, x);
    x = act_either(x > 90.0f, 90.0f, x);
    const float y = act_exp_rest(x, &shifted, native);
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (int32_t)((uint32_t)bits - 0x4b40007fu);
    const uint32_t half = (uint32_t)(bits >> 1), rest = (uint32_t)bits - half;
    const uint32_t low = (half + 127u) << 23, high = (rest + 127u) << 23;
    memcpy(&a, &low, 4);
    memcpy(&b, &high, 4);
    return y * (a * factor) * b;
}

PCX_INLINE float unary_sigmoid(float x, const int native) { return 1.0f / (1.0f + act_exp_fma(-x, native)); }

/* As act_tanh. */
PCX_INLINE float unary_tanh(float x, const int native)
{
    static const float c[] = { -0.333332f, 0.133209f, -0.0519f };
    const float z = x * x, small = act_fma(x * z, unary_poly(z, c, 3, native), x, native);
    const float large = 1.0f - 2.0f / (1.0f + act_exp_fma(2.0f * x, native));
    return act_either(z < 0.0625f, small, large);
}

/* x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2); past 20 it is x. */
PCX_INLINE float unary_mish(float x, const int native)
{
    const float e = act_exp_fma(act_either(x > 20.0f, 20.0f, x), native), n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
}

/* (1 + tanh(u)) / 2 = sigmoid(2u), which does not cancel. */
PCX_INLINE float unary_gelu_tanh(float x, const int native)
{
    return x * unary_sigmoid(1.59576912f * (x + 0.044715f * x * x * x), native);
}

/* 2 atanh(s) - 2 s, relative to z = s * s <= 1/9: |error| < 2^-27 of 2 atanh(s). */
PCX_INLINE float unary_atanh_rest(float z)
{
    float y = 0.28024465f;
    y = y * z + 0.27999139f;
    y = y * z + 0.40021700f;
    return (y * z + 0.66666412f) * z;
}

/*
 * log: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and log m = 2 atanh((m - 1) / (m + 1)).  |error| < 2^-23 of the result, and
 * 2^-24.  Subnormal numbers count as zero.
 */
PCX_INLINE float unary_log(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const int32_t e = (int32_t)(bits - 0x3f3504f3u) >> 23;
    bits -= (uint32_t)e << 23;
    float m;
    memcpy(&m, &bits, 4);
    const float f = m - 1.0f, s = f / (2.0f + f), n = (float)e;
    const float y = n * 0.693359375f + (f - (s * (f - unary_atanh_rest(s * s)) - n * -2.12194440e-4f));
    return act_either(x < INFINITY, act_either(x < 1.17549435e-38f, act_either(x < 0, NAN, -INFINITY), y), x);
}

/* log(1 + u), u >= 0; what 1 + u lost is added. */
PCX_INLINE float unary_log1p(float u)
{
    const float w = 1.0f + u, lost = act_either(u < 1, u - (w - 1.0f), act_either(u < 1e9f, 1.0f - (w - u), 0));
    return unary_log(w) + lost / w;
}

/* log(a + sqrt(a a + 1)) = log(1 + u) where nothing overflows, else log(2 a). */
PCX_INLINE float unary_asinh(float x)
{
    const float a = fabsf(x), z = a * a, u = a + z / (1.0f + sqrtf(z + 1.0f));
    const int far = a > 1e9f;
    return unary_signed(unary_log1p(act_either(far, a, u)) + act_either(far, 0.693147182f, 0), x);
}

PCX_INLINE float unary_acosh(float x)
{
    const float t = x - 1.0f, u = t + sqrtf(t * (t + 2.0f));
    const int far = x > 1e9f;
    return act_either(x < 1.0f, NAN, unary_log1p(act_either(far, x, u)) + act_either(far, 0.693147182f, 0));
}

PCX_INLINE float unary_atanh(float x)
{
    const float z = x * x;
    return act_either(z < 0.11f, x + 0.5f * x * unary_atanh_rest(z), 0.5f * unary_log((1.0f + x) / (1.0f - x)));
}

/* log(1 + e^x) = max(x, 0) + log(1 + y), y = e^-|x|, and log(1 + y) = 2 atanh(y / (2 + y)). */
PCX_INLINE float unary_softplus(float x, const int native)
{
    const float y = act_exp_fma(-fabsf(x), native), s = y / (2.0f + y);
    return act_either(x > 0, x, 0) + (2.0f * s + s * unary_atanh_rest(s * s));
}

/* e^x - 1 for x <= 0; anything for others.  2^n (e^r - 1) + (2^n - 1), where the second term is exact. */
PCX_INLINE float unary_expm1(float x)
{
    x = act_either(x < -80.0f, -80.0f, x);
    const float magic = 12582912.0f, shifted = x * 1.44269504f + magic, n = shifted - magic;
    float r = x - n * 0.693359375f;
    r -= n * -2.12194440e-4f;
    float y = 1.3946552e-3f;
    y = y * r + 8.3666444e-3f;
    y = y * r + 4.1666280e-2f;
    y = y * r + 1.6666542e-1f;
    y = (y * r + 0.5f) * (r * r) + r;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits - 0x4b400000u + 127u) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return y * scale + (scale - 1.0f);
}

/* e^(t^2) erfc(t) for t >= 0: a polynomial in 1 / (1 + 0.4 t).  |error| < 7 * 2^-24 of the result up to t = 10. */
PCX_INLINE float unary_erfcx(float t, const int native)
{
    static const float c[] = { 0.22564064f, 0.22633429f,  0.20266125f,  0.19038273f, 0.086787678f,
                               0.077841774f, 0.092785738f, -0.14455284f, 0.042118810f };
    const float u = 1.0f / act_fma(0.4f, t, 1.0f, native);
    return unary_poly(u, c, 9, native) * u;
}

/* 1 - erfc(|x|), and by its series where that cancels. */
PCX_INLINE float unary_erf(float x, const int native)
{
    static const float c[] = { 1.1283791f, -0.37612608f, 0.11282822f, -0.026757184f, 4.7179898e-3f };
    const float z = x * x, t = act_either(z > 100.0f, 10.0f, fabsf(x));
    const float large = 1.0f - act_exp_fma(-(t * t), native) * unary_erfcx(t, native);
    return act_either(z < 0.25f, unary_poly(z, c, 5, native) * x, unary_signed(large, x));
}

/*
 * x (1 + erf(x / sqrt(2))) / 2 = max(x, 0) - |x| erfc(|x| / sqrt(2)) / 2, where nothing cancels.
 * |error| < (16 + x^2 / 2) 2^-24 of the result.  What x < -13 gives is 0 in float.
 */
PCX_INLINE float unary_gelu(float x, const int native)
{
    const float a = act_either(fabsf(x) > 14.0f, 14.0f, fabsf(x));
    const float tail = act_exp_fma(-0.5f * a * a, native) * unary_erfcx(0.707106781f * a, native);
    return act_either(x > 0, x, 0) - 0.5f * a * tail;
}

enum { UNARY_BLOCK = 64 };

#define UNARY_CASE(code, value)                          \
    case code:                                           \
        PCX_IVDEP                                        \
        for (size_t j = 0; j < whole; j++) {             \
            const float v = x[j];                        \
            y[j] = value;                                \
        }                                                \
        break

/* y = v < 0 ? negative * (e^(v / part) - 1) : positive * v: elu, selu and celu. */
typedef struct {
    float negative, positive, part;
} unary_elu;

PCX_INLINE unary_elu unary_elu_of(size_t op, float p, float q)
{
    return (unary_elu){ op == PCX_UNARY_SELU ? p * q : p, op == PCX_UNARY_SELU ? q : 1, op == PCX_UNARY_CELU ? p : 1 };
}

/* sin, cos and tan of numbers of which some are far from 0: those are C's. */
PCX_INLINE void unary_far(size_t op, size_t n, const float *x, float *y, const int native)
{
    for (size_t j = 0; j < n; j++) {
        const float v = x[j];
        if (fabsf(v) <= UNARY_FAR)
            y[j] = op == PCX_UNARY_TAN ? unary_tan(v, native) : unary_sin(v, op == PCX_UNARY_COS, native);
        else
            y[j] = op == PCX_UNARY_TAN ? tanf(v) : op == PCX_UNARY_COS ? cosf(v) : sinf(v);
    }
}

/* The functions from PCX_UNARY_SIN on of n numbers, a multiple of UNARY_BLOCK. */
PCX_INLINE void unary_angles_of(size_t op, size_t n, const float *x, float *y, const int native)
{
    const size_t whole = n / UNARY_BLOCK * UNARY_BLOCK;
    int far = 0;
    for (size_t j = 0; j < whole; j++)
        far |= !(fabsf(x[j]) <= UNARY_FAR);
    if (far && op <= PCX_UNARY_TAN) {
        unary_far(op, n, x, y, native);
        return;
    }
    switch (op) {
        UNARY_CASE(PCX_UNARY_SIN, unary_sin(v, 0, native));
        UNARY_CASE(PCX_UNARY_COS, unary_sin(v, 1, native));
        UNARY_CASE(PCX_UNARY_TAN, unary_tan(v, native));
        UNARY_CASE(PCX_UNARY_ASIN, unary_asin(v, native));
        UNARY_CASE(PCX_UNARY_ACOS, unary_acos(v, native));
        UNARY_CASE(PCX_UNARY_ATAN, unary_atan(v, native));
        UNARY_CASE(PCX_UNARY_SINH, unary_sinh(v, unary_exp_times(fabsf(v), 0.5f, native), native));
        UNARY_CASE(PCX_UNARY_COSH, unary_cosh(unary_exp_times(fabsf(v), 0.5f, native)));
        UNARY_CASE(PCX_UNARY_ASINH, unary_asinh(v));
        UNARY_CASE(PCX_UNARY_ACOSH, unary_acosh(v));
        UNARY_CASE(PCX_UNARY_ATANH, unary_atanh(v));
    default: break;
    }
}

/* Rare, so there is one for AVX2, which AVX-512's row takes, too. */
#if PCX_X86
PCX_NOINLINE __attribute__((target("avx2,fma"))) static void unary_angles_fma(size_t op, size_t n, const float *x, float *y)
{
    unary_angles_of(op, n, x, y, 1);
}
PCX_NOINLINE PCX_COLD static void unary_angles_plain(size_t op, size_t n, const float *x, float *y)
{
    unary_angles_of(op, n, x, y, 0);
}
#else
PCX_NOINLINE static void unary_angles_fma(size_t op, size_t n, const float *x, float *y)
{
    unary_angles_of(op, n, x, y, 1);
}
#  define unary_angles_plain unary_angles_fma
#endif

PCX_INLINE void unary_angles(size_t op, size_t n, const float *x, float *y, const int native)
{
    if (native)
        unary_angles_fma(op, n, x, y);
    else
        unary_angles_plain(op, n, x, y);
}

/* n numbers, a multiple of UNARY_BLOCK: loops of vectors and nothing else.  x and y are the same or do not overlap. */
PCX_INLINE void unary_blocks(size_t op, size_t n, const float *x, float *y, const float *params, const int native)
{
    const float p = params[0], q = params[1];
    const size_t whole = n / UNARY_BLOCK * UNARY_BLOCK;
    const unary_elu elu = unary_elu_of(op, p, q);
    switch (op) {
        UNARY_CASE(PCX_UNARY_EXP, unary_exp_times(v, 1, native));
        UNARY_CASE(PCX_UNARY_SQRT, sqrtf(v));
        UNARY_CASE(PCX_UNARY_LOG, unary_log(v));
        UNARY_CASE(PCX_UNARY_ABS, fabsf(v));
        UNARY_CASE(PCX_UNARY_NEG, -v);
        UNARY_CASE(PCX_UNARY_FLOOR, floorf(v));
        UNARY_CASE(PCX_UNARY_CEIL, ceilf(v));
        UNARY_CASE(PCX_UNARY_ROUND, rintf(v));
        UNARY_CASE(PCX_UNARY_RECIPROCAL, 1.0f / v);
        UNARY_CASE(PCX_UNARY_ERF, unary_erf(v, native));
        UNARY_CASE(PCX_UNARY_GELU, unary_gelu(v, native));
        UNARY_CASE(PCX_UNARY_GELU_TANH, unary_gelu_tanh(v, native));
    case PCX_UNARY_ELU:
    case PCX_UNARY_SELU:
        UNARY_CASE(PCX_UNARY_CELU, act_either(v < 0, elu.negative * unary_expm1(v / elu.part), elu.positive * v));
        UNARY_CASE(PCX_UNARY_SOFTPLUS, unary_softplus(v, native));
        UNARY_CASE(PCX_UNARY_SOFTSIGN, v / (1.0f + fabsf(v)));
        UNARY_CASE(PCX_UNARY_MISH, unary_mish(v, native));
        UNARY_CASE(PCX_UNARY_THRESHOLDED_RELU, act_either(v > p, v, 0));
        UNARY_CASE(PCX_UNARY_SIGN, act_either(v > 0, 1.0f, act_either(v < 0, -1.0f, v)));
        UNARY_CASE(PCX_UNARY_SWISH, v * unary_sigmoid(p * v, native));
        UNARY_CASE(PCX_ACT_SIGMOID, unary_sigmoid(v, native));
        UNARY_CASE(PCX_ACT_SILU, v * unary_sigmoid(v, native));
        UNARY_CASE(PCX_ACT_TANH, unary_tanh(v, native));
    default:
        if (op >= PCX_UNARY_SIN)
            unary_angles(op, whole, x, y, native);
        else
            act_loop_run(x, y, whole, op, params);
    }
}

/* A row; its rest is computed as a whole block, too, in a copy, and so is a column (`step_x` or `step_y` is not 1). */
PCX_INLINE void unary_row(size_t op, size_t n, const float *x, size_t step_x, float *y, size_t step_y,
                          const float *params, const int native)
{
    const int dense = step_x == 1 && step_y == 1;
    float copy[UNARY_BLOCK] = { 0 };
    for (size_t i = 0, some; i < n; i += some) {
        const int copied = !dense || n - i < UNARY_BLOCK;
        some = copied ? min_size(n - i, UNARY_BLOCK) : (n - i) / UNARY_BLOCK * UNARY_BLOCK;
        if (copied)
            for (size_t j = 0; j < some; j++)
                copy[j] = x[(i + j) * step_x];
        unary_blocks(op, copied ? UNARY_BLOCK : some, copied ? copy : x + i, copied ? copy : y + i, params, native);
        if (copied)
            for (size_t j = 0; j < some; j++)
                y[(i + j) * step_y] = copy[j];
    }
}

PCX_INLINE void unary_run(const void *args, size_t begin, size_t end, const int native)
{
    const pcx_unary_args *p = args;
    const walk w = unary_walk(p);
    const float params[2] = { p->params[0], p->params[1] };
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w))
        unary_row(p->op, at.n, p->x + at.offset[0], walk_step(&w, 0), p->out + at.offset[1], walk_step(&w, 1), params,
                  native);
}

static size_t unary_units(const void *args)
{
    const walk w = unary_walk(args);
    return walk_units(&w);
}

PCX_LOOPS_FMA(unary)

const pcx_kernel pcx_unary = {
    "unary", 1,
    "m ldx n x:f32[m:ldx,n] op params:f32[2] ldo out:f32[m:ldo,n] where op<41",
    unary_impls,
};
