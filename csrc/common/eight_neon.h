/*
 * eight_neon.h - eight floats in two registers: what templates for vectors of 256 bits take on NEON, whose 32 registers hold
 * as many numbers as AVX2's 16.
 */
#ifndef PCX_EIGHT_NEON_H
#define PCX_EIGHT_NEON_H

#include "act_neon.h"

#if PCX_ARM64

typedef struct {
    float32x4_t low, high;
} eight_neon;

PCX_INLINE eight_neon eight_neon_load(const float *x) { return (eight_neon){ vld1q_f32(x), vld1q_f32(x + 4) }; }

PCX_INLINE void eight_neon_store(float *to, eight_neon x)
{
    vst1q_f32(to, x.low);
    vst1q_f32(to + 4, x.high);
}

PCX_INLINE eight_neon eight_neon_set1(float x) { return (eight_neon){ vdupq_n_f32(x), vdupq_n_f32(x) }; }
PCX_INLINE eight_neon eight_neon_zero(void) { return eight_neon_set1(0); }
PCX_INLINE eight_neon eight_neon_broadcast(const float *x) { return eight_neon_set1(*x); }

PCX_INLINE eight_neon eight_neon_add(eight_neon a, eight_neon b)
{
    return (eight_neon){ vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high) };
}

PCX_INLINE eight_neon eight_neon_max(eight_neon a, eight_neon b)
{
    return (eight_neon){ vmaxq_f32(a.low, b.low), vmaxq_f32(a.high, b.high) };
}

PCX_INLINE eight_neon eight_neon_min(eight_neon a, eight_neon b)
{
    return (eight_neon){ vminq_f32(a.low, b.low), vminq_f32(a.high, b.high) };
}

PCX_INLINE eight_neon eight_neon_hardswish(eight_neon x)
{
    return (eight_neon){ act_neon_hardswish(x.low), act_neon_hardswish(x.high) };
}

/* out[j] = column j of four rows. */
PCX_INLINE void eight_neon_turn_4(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d, float32x4_t out[4])
{
    const float64x2_t ab0 = vreinterpretq_f64_f32(vtrn1q_f32(a, b)), ab1 = vreinterpretq_f64_f32(vtrn2q_f32(a, b)),
                      cd0 = vreinterpretq_f64_f32(vtrn1q_f32(c, d)), cd1 = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
    out[0] = vreinterpretq_f32_f64(vtrn1q_f64(ab0, cd0));
    out[1] = vreinterpretq_f32_f64(vtrn1q_f64(ab1, cd1));
    out[2] = vreinterpretq_f32_f64(vtrn2q_f64(ab0, cd0));
    out[3] = vreinterpretq_f32_f64(vtrn2q_f64(ab1, cd1));
}

#endif
#endif
