/* quantize.c - loops, compiled once for each ISA. */
#include "../common/round.h"

enum { QUANTIZE_CHUNK = 4096, QUANTIZE_SMALL = 1 << 21 };

/*
 * The work as rows: per tensor one long row in chunks, per last axis rows of c channels, else rows of one
 * channel's inner elements.
 */
typedef struct {
    size_t rows, n, per_unit;
} quantize_rows;

PCX_INLINE quantize_rows quantize_split(size_t outer, size_t c, size_t inner)
{
    const size_t n = c == 1 ? QUANTIZE_CHUNK : inner == 1 ? c : inner;
    const size_t rows = c == 1 ? ceil_div(outer * inner, n) : inner == 1 ? outer : outer * c;
    const quantize_rows split = { n ? rows : 0, n, n && n < QUANTIZE_CHUNK ? QUANTIZE_CHUNK / n : 1 };
    return split;
}

/* Limits of one channel, small enough for round_half_even: zero and both limits are below 2^21. */
PCX_INLINE int32_t quantize_small(float v, float scale, int32_t zero, int32_t lo, int32_t hi)
{
    return round_half_even(round_clamp(v / scale, (float)(lo - zero), (float)(hi - zero))) + zero;
}

#define QUANTIZE_LOOP(type, value)                                  \
    do {                                                            \
        type *y = (type *)out + at;                                 \
        for (size_t j = 0; j < n; j++)                              \
            y[j] = (type)(value);                                   \
    } while (0)

#define QUANTIZE_TYPES(value)                                       \
    switch (ot) {                                                   \
    case PCX_U8: QUANTIZE_LOOP(uint8_t, value); break;              \
    case PCX_I8: QUANTIZE_LOOP(int8_t, value); break;               \
    case PCX_I16: QUANTIZE_LOOP(int16_t, value); break;             \
    case PCX_U16: QUANTIZE_LOOP(uint16_t, value); break;            \
    default: QUANTIZE_LOOP(int32_t, value);                         \
    }

/* A row of one channel. */
PCX_INLINE void quantize_row(const float *x, size_t n, float scale, int32_t zero, int32_t lo, int32_t hi, int small,
                             size_t ot, void *out, size_t at)
{
    if (small) {
        QUANTIZE_TYPES(quantize_small(x[j], scale, zero, lo, hi))
    } else {
        QUANTIZE_TYPES(round_code(x[j], scale, zero, lo, hi))
    }
}

/* A row with a channel for each element. */
PCX_INLINE void quantize_channels(const float *x, size_t n, const float *scale, const int32_t *zero, int32_t lo,
                                  int32_t hi, int small, size_t ot, void *out, size_t at)
{
    if (small) {
        QUANTIZE_TYPES(quantize_small(x[j], scale[j], zero[j], lo, hi))
    } else {
        QUANTIZE_TYPES(round_code(x[j], scale[j], zero[j], lo, hi))
    }
}

PCX_INLINE int quantize_is_small(int32_t v) { return v > -QUANTIZE_SMALL && v < QUANTIZE_SMALL; }

PCX_INLINE void quantize_run(const void *args, size_t begin, size_t end)
{
    const pcx_quantize_args *p = args;
    const quantize_rows s = quantize_split(p->outer, p->c, p->inner);
    const int32_t lo = p->clamp[0], hi = p->clamp[1];
    int small = quantize_is_small(lo) && quantize_is_small(hi);
    for (size_t j = 0; j < p->c; j++)
        small = small && quantize_is_small(p->zero[j]);
    for (size_t row = begin * s.per_unit; row < min_size(end * s.per_unit, s.rows); row++) {
        const size_t at = row * s.n, n = p->c == 1 ? min_size(p->outer * p->inner - at, s.n) : s.n;
        if (p->c > 1 && p->inner == 1) {
            quantize_channels(p->x + at, n, p->scale, p->zero, lo, hi, small, p->ot, p->out, at);
        } else {
            const size_t c = row % p->c;
            quantize_row(p->x + at, n, p->scale[c], p->zero[c], lo, hi, small, p->ot, p->out, at);
        }
    }
}

static size_t quantize_units(const void *args)
{
    const pcx_quantize_args *p = args;
    const quantize_rows s = quantize_split(p->outer, p->c, p->inner);
    return ceil_div(s.rows, s.per_unit);
}

PCX_LOOPS_512(quantize)

const pcx_kernel pcx_quantize = {
    "quantize", 1,
    "outer c inner x:f32[outer,c,inner] scale:f32[c] zero:i32[c] clamp:i32[2] ot "
    "out:{u8,i8,i16,u16,i32}ot[outer,c,inner]",
    quantize_impls,
};
