/* dequantize.c - loops, compiled once for each ISA.  Rows as in quantize. */
#include "../common/pcx.h"

enum { DEQUANTIZE_CHUNK = 4096 };

typedef struct {
    size_t rows, n, per_unit;
} dequantize_rows;

PCX_INLINE dequantize_rows dequantize_split(size_t outer, size_t c, size_t inner)
{
    const size_t n = c == 1 ? DEQUANTIZE_CHUNK : inner == 1 ? c : inner;
    const size_t rows = c == 1 ? ceil_div(outer * inner, n) : inner == 1 ? outer : outer * c;
    const dequantize_rows split = { n ? rows : 0, n, n && n < DEQUANTIZE_CHUNK ? DEQUANTIZE_CHUNK / n : 1 };
    return split;
}

#define DEQUANTIZE_LOOP(type, channel)                                                                  \
    do {                                                                                                \
        const type *v = (const type *)x + at;                                                           \
        for (size_t j = 0; j < n; j++)                                                                  \
            out[j] = (float)(int32_t)((uint32_t)v[j] - (uint32_t)zero[channel]) * scale[channel];       \
    } while (0)

#define DEQUANTIZE_TYPES(channel)                                   \
    switch (xt) {                                                   \
    case PCX_U8: DEQUANTIZE_LOOP(uint8_t, channel); break;          \
    case PCX_I8: DEQUANTIZE_LOOP(int8_t, channel); break;           \
    case PCX_I16: DEQUANTIZE_LOOP(int16_t, channel); break;         \
    case PCX_U16: DEQUANTIZE_LOOP(uint16_t, channel); break;        \
    default: DEQUANTIZE_LOOP(int32_t, channel);                     \
    }

PCX_INLINE void dequantize_run(const void *args, size_t begin, size_t end)
{
    const pcx_dequantize_args *p = args;
    const dequantize_rows s = dequantize_split(p->outer, p->c, p->inner);
    const void *x = p->x;
    const size_t xt = p->xt;
    for (size_t row = begin * s.per_unit; row < min_size(end * s.per_unit, s.rows); row++) {
        const size_t at = row * s.n, n = p->c == 1 ? min_size(p->outer * p->inner - at, s.n) : s.n;
        float *out = p->out + at;
        if (p->c > 1 && p->inner == 1) {
            const int32_t *zero = p->zero;
            const float *scale = p->scale;
            DEQUANTIZE_TYPES(j)
        } else {
            const int32_t zero[1] = { p->zero[row % p->c] };
            const float scale[1] = { p->scale[row % p->c] };
            DEQUANTIZE_TYPES(0)
        }
    }
}

static size_t dequantize_units(const void *args)
{
    const pcx_dequantize_args *p = args;
    const dequantize_rows s = dequantize_split(p->outer, p->c, p->inner);
    return ceil_div(s.rows, s.per_unit);
}

PCX_LOOPS_512(dequantize)

const pcx_kernel pcx_dequantize = {
    "dequantize", 1,
    "outer c inner xt x:{u8,i8,i16,u16,i32}xt[outer,c,inner] zero:i32[c] scale:f32[c] out:f32[outer,c,inner]",
    dequantize_impls,
};
