/* argreduce.c - loops, compiled once for all ISAs.  Up to ARGREDUCE_LANES neighbours of the inner axis at a time. */
#include "../common/pcx.h"

enum { ARGREDUCE_LANES = 64 };

#define ARGREDUCE_JOIN(T, beats)                   \
    for (size_t i = 1; i < r; i++)                 \
        for (size_t j = 0; j < n; j++) {           \
            const T v = x[i * stride + j];         \
            const int better = v beats t[j];       \
            t[j] = better ? v : t[j];              \
            out[j] = better ? (int64_t)i : out[j]; \
        }                                          \
    break

#define ARGREDUCE_LANES_OF(name, T)                                                                           \
    PCX_INLINE void argreduce_##name(const T *x, size_t r, size_t stride, size_t n, int64_t *out, size_t how) \
    {                                                                                                         \
        T t[ARGREDUCE_LANES];                                                                                 \
        memset(out, 0, n * sizeof *out);                                                                      \
        if (!r)                                                                                               \
            return;                                                                                           \
        memcpy(t, x, n * sizeof *t);                                                                          \
        switch (how) {                                                                                        \
        case 0: ARGREDUCE_JOIN(T, >);                                                                         \
        case 1: ARGREDUCE_JOIN(T, >=);                                                                        \
        case 2: ARGREDUCE_JOIN(T, <);                                                                         \
        default: ARGREDUCE_JOIN(T, <=);                                                                       \
        }                                                                                                     \
    }

ARGREDUCE_LANES_OF(f32, float)
ARGREDUCE_LANES_OF(f64, double)
ARGREDUCE_LANES_OF(u8, uint8_t)
ARGREDUCE_LANES_OF(i32, int32_t)
ARGREDUCE_LANES_OF(u32, uint32_t)
ARGREDUCE_LANES_OF(i64, int64_t)
ARGREDUCE_LANES_OF(u64, uint64_t)

#define ARGREDUCE_CASE(code, name, T)                                                                \
    case code:                                                                                       \
        argreduce_##name((const T *)p->x + from, p->r, p->inner, n, p->out + o * p->inner + i, how); \
        break

PCX_INLINE void argreduce_run(const void *args, size_t begin, size_t end)
{
    const pcx_argreduce_args *p = args;
    const size_t strips = ceil_div(p->inner, ARGREDUCE_LANES), how = 2 * p->mode + p->last;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t o = unit / strips, i = unit % strips * ARGREDUCE_LANES;
        const size_t n = min_size(p->inner - i, ARGREDUCE_LANES), from = o * p->r * p->inner + i;
        switch (p->xt) {
            ARGREDUCE_CASE(PCX_F32, f32, float);
            ARGREDUCE_CASE(PCX_F64, f64, double);
            ARGREDUCE_CASE(PCX_U8, u8, uint8_t);
            ARGREDUCE_CASE(PCX_I32, i32, int32_t);
            ARGREDUCE_CASE(PCX_U32, u32, uint32_t);
            ARGREDUCE_CASE(PCX_I64, i64, int64_t);
            ARGREDUCE_CASE(PCX_U64, u64, uint64_t);
        }
    }
}

static size_t argreduce_units(const void *args)
{
    const pcx_argreduce_args *p = args;
    return p->outer * ceil_div(p->inner, ARGREDUCE_LANES);
}

PCX_LOOPS_SMALL(argreduce)

const pcx_kernel pcx_argreduce = {
    "argreduce", 1,
    "outer r inner xt x:{f32,f64,u8,i32,u32,i64,u64}xt[outer,r,inner] mode last out:i64[outer,inner] where mode<2,last<2",
    argreduce_impls,
};
