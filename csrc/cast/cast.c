/*
 * cast.c - in blocks, by way of the widest type of a kind: int64, uint64 or double, each of which represents
 * every value of the types that are converted through it.
 */
#include "cast.h"

typedef union {
    int64_t i[CAST_BLOCK];
    uint64_t u[CAST_BLOCK];
    double d[CAST_BLOCK];
} cast_block;

#define CAST_LOAD(type, kind, value)            \
    {                                           \
        const type *v = (const type *)x + at;   \
        for (size_t j = 0; j < n; j++)          \
            w->kind[j] = value;                 \
    }                                           \
    break

/* Elements [at, at + n) of x; the kind they went to. */
static char cast_load(const void *x, size_t dtype, size_t at, size_t n, cast_block *w)
{
    switch (dtype) {
    case PCX_U64: memcpy(w->u, (const uint64_t *)x + at, n * 8); return 'u';
    case PCX_F64: memcpy(w->d, (const double *)x + at, n * 8); return 'd';
    case PCX_F32: CAST_LOAD(float, d, v[j]);
    case PCX_F16: CAST_LOAD(uint16_t, d, half_to_double(v[j]));
    case PCX_BF16: CAST_LOAD(uint16_t, d, half_bf16_to_float(v[j]));
    case PCX_U8: CAST_LOAD(uint8_t, i, v[j]);
    case PCX_I8: CAST_LOAD(int8_t, i, v[j]);
    case PCX_BOOL: CAST_LOAD(uint8_t, i, v[j] != 0);
    case PCX_I16: CAST_LOAD(int16_t, i, v[j]);
    case PCX_U16: CAST_LOAD(uint16_t, i, v[j]);
    case PCX_I32: CAST_LOAD(int32_t, i, v[j]);
    case PCX_U32: CAST_LOAD(uint32_t, i, v[j]);
    default: memcpy(w->i, (const int64_t *)x + at, n * 8);
    }
    return dtype == PCX_F32 || dtype == PCX_F16 || dtype == PCX_BF16 ? 'd' : 'i';
}

#define CAST_STORE(type, value)                 \
    {                                           \
        type *y = (type *)out + at;             \
        for (size_t j = 0; j < n; j++)          \
            y[j] = (type)(value);               \
    }                                           \
    break

/* The stores that int64 and uint64 share: conversions between integers wrap. */
#define CAST_STORE_INTEGER(kind)                                        \
    switch (dtype) {                                                    \
    case PCX_U8: CAST_STORE(uint8_t, w->kind[j]);                       \
    case PCX_I8: CAST_STORE(int8_t, w->kind[j]);                        \
    case PCX_BOOL: CAST_STORE(uint8_t, w->kind[j] != 0);                \
    case PCX_I16: CAST_STORE(int16_t, w->kind[j]);                      \
    case PCX_U16: CAST_STORE(uint16_t, w->kind[j]);                     \
    case PCX_I32: CAST_STORE(int32_t, w->kind[j]);                      \
    case PCX_U32: CAST_STORE(uint32_t, w->kind[j]);                     \
    case PCX_I64: CAST_STORE(int64_t, w->kind[j]);                      \
    case PCX_U64: CAST_STORE(uint64_t, w->kind[j]);                     \
    case PCX_F16: CAST_STORE(uint16_t, half_from_double((double)w->kind[j])); \
    case PCX_BF16: CAST_STORE(uint16_t, half_bf16_from_float((float)w->kind[j])); \
    case PCX_F32: CAST_STORE(float, w->kind[j]);                        \
    default: CAST_STORE(double, w->kind[j]);                            \
    }

/* v in [lo, hi], and 0 for NaN. */
static double cast_saturate(double v, double lo, double hi) { return v != v ? 0 : v < lo ? lo : v > hi ? hi : v; }

static int64_t cast_to_int64(double v)
{
    return v >= 0x1p63 ? INT64_MAX : (int64_t)cast_saturate(v, -0x1p63, 0x1.fffffffffffffp62);
}

static uint64_t cast_to_uint64(double v)
{
    return v >= 0x1p64 ? UINT64_MAX : (uint64_t)cast_saturate(v, 0, 0x1.fffffffffffffp63);
}

static void cast_store_double(const cast_block *w, void *out, size_t dtype, size_t at, size_t n)
{
    switch (dtype) {
    case PCX_U8: CAST_STORE(uint8_t, cast_saturate(w->d[j], 0, UINT8_MAX));
    case PCX_I8: CAST_STORE(int8_t, cast_saturate(w->d[j], INT8_MIN, INT8_MAX));
    case PCX_BOOL: CAST_STORE(uint8_t, w->d[j] != 0);
    case PCX_I16: CAST_STORE(int16_t, cast_saturate(w->d[j], INT16_MIN, INT16_MAX));
    case PCX_U16: CAST_STORE(uint16_t, cast_saturate(w->d[j], 0, UINT16_MAX));
    case PCX_I32: CAST_STORE(int32_t, cast_saturate(w->d[j], INT32_MIN, INT32_MAX));
    case PCX_U32: CAST_STORE(uint32_t, cast_saturate(w->d[j], 0, UINT32_MAX));
    case PCX_I64: CAST_STORE(int64_t, cast_to_int64(w->d[j]));
    case PCX_U64: CAST_STORE(uint64_t, cast_to_uint64(w->d[j]));
    case PCX_F16: CAST_STORE(uint16_t, half_from_double(w->d[j]));
    case PCX_BF16: CAST_STORE(uint16_t, half_bf16_from_float((float)w->d[j]));
    case PCX_F32: CAST_STORE(float, w->d[j]);
    default: memcpy((double *)out + at, w->d, n * 8);
    }
}

static void cast_store(const cast_block *w, char kind, void *out, size_t dtype, size_t at, size_t n)
{
    if (kind == 'd') {
        cast_store_double(w, out, dtype, at, n);
    } else if (kind == 'u') {
        CAST_STORE_INTEGER(u)
    } else {
        CAST_STORE_INTEGER(i)
    }
}

static size_t cast_units(const void *args) { return ceil_div(((const pcx_cast_args *)args)->n, CAST_UNIT); }

void cast_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_cast_args *p = args;
    (void)scratch;
    cast_block w;
    for (size_t at = begin * CAST_UNIT; at < min_size(end * CAST_UNIT, p->n); at += CAST_BLOCK) {
        const size_t n = min_size(p->n - at, CAST_BLOCK);
        const char kind = cast_load(p->x, p->xt, at, n, &w);
        cast_store(&w, kind, p->out, p->ot, at, n);
    }
}

static const pcx_impl cast_impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, cast_units, cast_avx2, NULL, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, cast_units, cast_neon, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, cast_units, cast_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_cast = {
    "cast", 1,
    "n xt x:{f32,f64,f16,bf16,i64,i32,i16,i8,u8,u16,u32,u64,bool}xt[n] "
    "ot out:{f32,f64,f16,bf16,i64,i32,i16,i8,u8,u16,u32,u64,bool}ot[n]",
    cast_impls,
};
