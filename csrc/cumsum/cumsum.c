/* cumsum.c - each sum waits for the one before it, so there is little for an ISA to add. */
#include "../common/pcx.h"

enum { CUMSUM_LANES = 64 };

/* Up to CUMSUM_LANES neighbours of the inner axis, summed in S: sums, or products. */
#define CUMSUM_LANES_OF(name, T, S)                                                                              \
    static PCX_COLD void cumsum_##name(const T *x, T *out, size_t n, const pcx_cumsum_args *p)                           \
    {                                                                                                            \
        const size_t r = p->r, stride = p->inner;                                                                \
        S t[CUMSUM_LANES];                                                                                       \
        for (size_t j = 0; j < n; j++)                                                                           \
            t[j] = (S)p->product;                                                                                \
        for (size_t i = 0; i < r; i++) {                                                                         \
            const size_t at = (p->reverse ? r - 1 - i : i) * stride;                                             \
            for (size_t j = 0; j < n; j++) {                                                                     \
                const S before = t[j];                                                                           \
                t[j] = (S)(p->product ? before * (S)x[at + j] : before + (S)x[at + j]);                          \
                out[at + j] = (T)(p->exclusive ? before : t[j]);                                                 \
            }                                                                                                    \
        }                                                                                                        \
    }

CUMSUM_LANES_OF(f32, float, double)
CUMSUM_LANES_OF(f64, double, double)
CUMSUM_LANES_OF(u32, uint32_t, uint32_t)
CUMSUM_LANES_OF(u64, uint64_t, uint64_t)

static size_t cumsum_units(const void *args)
{
    const pcx_cumsum_args *p = args;
    return p->outer * ceil_div(p->inner, CUMSUM_LANES);
}

static PCX_COLD void cumsum_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_cumsum_args *p = args;
    const size_t strips = ceil_div(p->inner, CUMSUM_LANES), bytes = pcx_dtype_bytes(p->xt);
    (void)scratch;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t o = unit / strips, i = unit % strips * CUMSUM_LANES, n = min_size(p->inner - i, CUMSUM_LANES);
        const size_t at = (o * p->r * p->inner + i) * bytes;
        const void *x = (const char *)p->x + at;
        void *out = (char *)p->out + at;
        if (p->xt == PCX_F32)
            cumsum_f32(x, out, n, p);
        else if (p->xt == PCX_F64)
            cumsum_f64(x, out, n, p);
        else if (bytes == 4) /* signed numbers wrap around as unsigned ones do */
            cumsum_u32(x, out, n, p);
        else
            cumsum_u64(x, out, n, p);
    }
}

static const pcx_impl cumsum_impls[] = {
    { "scalar", 0, cumsum_units, cumsum_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_cumsum = {
    "cumsum", 2,
    "outer r inner xt x:{f32,f64,i32,u32,i64,u64}xt[outer,r,inner] product exclusive reverse "
    "out:{f32,f64,i32,u32,i64,u64}xt[outer,r,inner] where product<2,exclusive<2,reverse<2",
    cumsum_impls,
};
