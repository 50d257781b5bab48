/* qepilogue_neon.h - qepilogue.h on NEON: 16 sums of a row to the output. */
#ifndef PCX_QEPILOGUE_NEON_H
#define PCX_QEPILOGUE_NEON_H

#include "qepilogue.h"

#if PCX_ARM64
#include <arm_neon.h>

/* A qepilogue_clamp in registers. */
typedef struct {
    float32x4_t high;
    int16x8_t zero;
    uint8x16_t min, max;
} qepilogue_neon_clamp;

/* The epilogue of 16 columns, kept from tile to tile. */
typedef struct {
    const qepilogue *tail;
    size_t j, cols;     /* columns [j, j + cols), at most 16 */
    float scale[QT_NR]; /* zero beyond cols */
    int finite;         /* the scales are: no product is NaN */
    int plain;          /* to u8, without table and residual */
    qepilogue_neon_clamp clamp;
} qepilogue_neon_columns;

PCX_INLINE qepilogue_neon_clamp qepilogue_neon_clamp_make(const qepilogue_clamp *c)
{
    return (qepilogue_neon_clamp){ vdupq_n_f32(c->high), vdupq_n_s16((int16_t)c->zero), vdupq_n_u8((uint8_t)c->min),
                                   vdupq_n_u8((uint8_t)c->max) };
}

static inline qepilogue_neon_columns qepilogue_neon_columns_make(const qepilogue *t, size_t j, size_t cols)
{
    qepilogue_neon_columns c = { .tail = t, .j = j, .cols = cols, .finite = 1,
                                 .clamp = qepilogue_neon_clamp_make(&t->clamp) };
    if (t->scale)
        memcpy(c.scale, t->scale + j, cols * sizeof *c.scale);
    for (size_t x = 0; x < QT_NR; x++)
        c.finite &= fabsf(c.scale[x]) <= 3.4028234e38f;
    c.plain = t->mode == QT_U8 && !t->q.lut && !t->q.residual;
    return c;
}

/*
 * Four vectors of floats to 16 bytes.  Conversion and narrowing saturate, so that what is too large is clamped after them;
 * only NaN, which must become the maximum, needs `finite` 0.
 */
PCX_INLINE uint8x16_t qepilogue_neon_bytes(const float32x4_t v[4], const qepilogue_neon_clamp *c, int finite)
{
    int32x4_t q[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        q[x] = vcvtnq_s32_f32(finite ? v[x] : vminnmq_f32(v[x], c->high));
    int16x8_t low = vqmovn_high_s32(vqmovn_s32(q[0]), q[1]), high = vqmovn_high_s32(vqmovn_s32(q[2]), q[3]);
    low = vqaddq_s16(low, c->zero);
    high = vqaddq_s16(high, c->zero);
    return vmaxq_u8(vminq_u8(vqmovun_high_s16(vqmovun_s16(low), high), c->max), c->min);
}

/* 16 sums to bytes, without table and residual. */
PCX_INLINE uint8x16_t qepilogue_neon_sums(const qepilogue_neon_columns *c, const int32x4_t acc[4])
{
    float32x4_t v[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        v[x] = vmulq_f32(vcvtq_f32_s32(acc[x]), vld1q_f32(c->scale + 4 * x));
    return qepilogue_neon_bytes(v, &c->clamp, c->finite);
}

/* 16 bytes less zero, times scale, as four vectors. */
PCX_INLINE void qepilogue_neon_unpack(uint8x16_t bytes, int32_t zero, float scale, float32x4_t v[4])
{
    const int32x4_t z = vdupq_n_s32(zero);
    const float32x4_t s = vdupq_n_f32(scale);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_high_u8(bytes);
    const uint32x4_t wide[4] = { vmovl_u16(vget_low_u16(low)), vmovl_high_u16(low), vmovl_u16(vget_low_u16(high)),
                                 vmovl_high_u16(high) };
    PCX_UNROLL for (int x = 0; x < 4; x++)
        v[x] = vmulq_f32(vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(wide[x]), z)), s);
}

/* Bytes of an output plus those of the residual. */
PCX_INLINE uint8x16_t qepilogue_neon_add(const qepilogue *t, uint8x16_t bytes, uint8x16_t residual)
{
    const qepilogue_neon_clamp clamp = qepilogue_neon_clamp_make(&t->add);
    float32x4_t mine[4], other[4];
    qepilogue_neon_unpack(bytes, t->add_zero[0], t->add_scale[0], mine);
    qepilogue_neon_unpack(residual, t->add_zero[1], t->add_scale[1], other);
    PCX_UNROLL for (int x = 0; x < 4; x++)
        mine[x] = vaddq_f32(mine[x], other[x]);
    return qepilogue_neon_bytes(mine, &clamp, 0);
}

/* Table look-up of 16 bytes: tbl takes 64 entries, and tbx leaves a byte alone whose index is beyond its own 64. */
PCX_INLINE uint8x16_t qepilogue_neon_table(const uint8_t lut[256], uint8x16_t x)
{
    const uint8x16_t step = vdupq_n_u8(64);
    uint8x16_t y = vqtbl4q_u8(vld1q_u8_x4(lut), x);
    PCX_UNROLL for (int i = 1; i < 4; i++) {
        x = vsubq_u8(x, step);
        y = vqtbx4q_u8(y, vld1q_u8_x4(lut + 64 * i), x);
    }
    return y;
}

/* The first `cols` of 16 bytes; what is behind them is zero. */
PCX_INLINE uint8x16_t qepilogue_neon_load(const uint8_t *p, size_t cols)
{
    uint8_t each[QT_NR] = { 0 };
    if (PCX_LIKELY(cols == QT_NR))
        return vld1q_u8(p);
    memcpy(each, p, cols);
    return vld1q_u8(each);
}

PCX_INLINE void qepilogue_neon_store(uint8_t *p, uint8x16_t bytes, size_t cols)
{
    uint8_t each[QT_NR];
    if (PCX_LIKELY(cols == QT_NR)) {
        vst1q_u8(p, bytes);
        return;
    }
    vst1q_u8(each, bytes);
    memcpy(p, each, cols);
}

/* qepilogue_neon.c: rows [i, i + rows) of sums to `out`, rows ldo bytes apart, for any epilogue. */
PCX_HIDDEN void qepilogue_neon_rows(const qepilogue_neon_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR],
                                    uint8_t *out, size_t ldo);

#endif
#endif
