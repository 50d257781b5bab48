/* ireduce.c - loops, compiled once for all ISAs.  Up to IREDUCE_LANES neighbours of the inner axis at a time. */
#include "../common/pcx.h"

#include <math.h>

enum { IREDUCE_SUM, IREDUCE_MEAN, IREDUCE_MAX, IREDUCE_MIN, IREDUCE_PROD, IREDUCE_L1, IREDUCE_SUMSQUARE };
enum { IREDUCE_LANES = 64 };

#define IREDUCE_JOIN(T, value)             \
    for (size_t i = 0; i < r; i++)         \
        for (size_t j = 0; j < n; j++) {   \
            const T v = x[i * stride + j]; \
            t[j] = value;                  \
        }                                  \
    break

/* n lanes of numbers T; U is the unsigned type, which wraps around; MIN_T and MAX_T are the limits of T. */
#define IREDUCE_LANES_OF(name, T, U, MIN_T, MAX_T)                                                              \
    PCX_INLINE void ireduce_##name(const T *x, size_t r, size_t stride, size_t n, T *out, size_t mode)             \
    {                                                                                                              \
        T t[IREDUCE_LANES];                                                                                        \
        for (size_t j = 0; j < n; j++)                                                                             \
            t[j] = mode == IREDUCE_MAX ? MIN_T : mode == IREDUCE_MIN ? MAX_T : mode == IREDUCE_PROD ? 1 : 0;    \
        switch (mode) {                                                                                            \
        case IREDUCE_MAX: IREDUCE_JOIN(T, v > t[j] ? v : t[j]);                                                    \
        case IREDUCE_MIN: IREDUCE_JOIN(T, v < t[j] ? v : t[j]);                                                    \
        case IREDUCE_PROD: IREDUCE_JOIN(T, (T)((U)t[j] * (U)v));                                                   \
        case IREDUCE_L1: IREDUCE_JOIN(T, (T)((U)t[j] + (MIN_T && (U)v >> (8 * sizeof v - 1) ? 0 - (U)v : (U)v))); \
        case IREDUCE_SUMSQUARE: IREDUCE_JOIN(T, (T)((U)t[j] + (U)v * (U)v));                                       \
        default: IREDUCE_JOIN(T, (T)((U)t[j] + (U)v));                                                             \
        }                                                                                                          \
        for (size_t j = 0; j < n; j++)                                                                             \
            out[j] = mode == IREDUCE_MEAN && r ? ireduce_##name##_mean(t[j], r) : t[j];                            \
    }

PCX_INLINE uint64_t ireduce_u64_mean(uint64_t total, size_t r) { return total / r; }
PCX_INLINE uint32_t ireduce_u32_mean(uint32_t total, size_t r) { return (uint32_t)(total / r); }
/* Toward zero. */
PCX_INLINE int64_t ireduce_i64_mean(int64_t total, size_t r)
{
    return total < 0 ? (int64_t)(0 - (0 - (uint64_t)total) / r) : (int64_t)((uint64_t)total / r);
}
PCX_INLINE int32_t ireduce_i32_mean(int32_t total, size_t r) { return (int32_t)ireduce_i64_mean(total, r); }

IREDUCE_LANES_OF(i32, int32_t, uint32_t, INT32_MIN, INT32_MAX)
IREDUCE_LANES_OF(u32, uint32_t, uint32_t, 0, UINT32_MAX)
IREDUCE_LANES_OF(i64, int64_t, uint64_t, INT64_MIN, INT64_MAX)
IREDUCE_LANES_OF(u64, uint64_t, uint64_t, 0, UINT64_MAX)

/* Doubles; a NaN is the maximum and the minimum. */
static PCX_COLD void ireduce_f64(const double *x, size_t r, size_t stride, size_t n, double *out, size_t mode)
{
    for (size_t j = 0; j < n; j++) {
        double t = mode == IREDUCE_MAX ? -INFINITY : mode == IREDUCE_MIN ? INFINITY : mode == IREDUCE_PROD ? 1 : 0;
        for (size_t i = 0; i < r; i++) {
            const double v = x[i * stride + j];
            switch (mode) {
            case IREDUCE_MAX: t = v > t || v != v ? v : t; break;
            case IREDUCE_MIN: t = v < t || v != v ? v : t; break;
            case IREDUCE_PROD: t *= v; break;
            case IREDUCE_L1: t += fabs(v); break;
            case IREDUCE_SUMSQUARE: t += v * v; break;
            default: t += v;
            }
        }
        out[j] = mode == IREDUCE_MEAN ? t / (double)r : t;
    }
}

#define IREDUCE_CASE(code, name, T)                                                                         \
    case code:                                                                                              \
        ireduce_##name((const T *)p->x + from, p->r, p->inner, n, (T *)p->out + o * p->inner + i, p->mode); \
        break

PCX_INLINE void ireduce_run(const void *args, size_t begin, size_t end)
{
    const pcx_ireduce_args *p = args;
    const size_t strips = ceil_div(p->inner, IREDUCE_LANES);
    for (size_t unit = begin; unit < end; unit++) {
        const size_t o = unit / strips, i = unit % strips * IREDUCE_LANES, n = min_size(p->inner - i, IREDUCE_LANES);
        const size_t from = o * p->r * p->inner + i;
        switch (p->xt) {
            IREDUCE_CASE(PCX_F64, f64, double);
            IREDUCE_CASE(PCX_I32, i32, int32_t);
            IREDUCE_CASE(PCX_U32, u32, uint32_t);
            IREDUCE_CASE(PCX_I64, i64, int64_t);
            IREDUCE_CASE(PCX_U64, u64, uint64_t);
        }
    }
}

static size_t ireduce_units(const void *args)
{
    const pcx_ireduce_args *p = args;
    return p->outer * ceil_div(p->inner, IREDUCE_LANES);
}

PCX_LOOPS_SMALL(ireduce)

const pcx_kernel pcx_ireduce = {
    "ireduce", 1,
    "outer r inner xt x:{f64,i32,u32,i64,u64}xt[outer,r,inner] mode out:{f64,i32,u32,i64,u64}xt[outer,inner] where mode<7",
    ireduce_impls,
};
