/*
 * qbinary_neon.c - 16 elements at a time, where they are neighbours or one number for all.  Products of codes less their zero points
 * are at most 255 * 255 in size, exact in int32.
 */
#include "../common/qepilogue_neon.h"
#include "qbinary.h"

#if PCX_ARM64

enum { STEP = 16 };

/* What all elements have in common. */
typedef struct {
    uint8x8_t za, zb;
    float sa, sb;
    qepilogue_neon_clamp clamp;
    int finite; /* no result is NaN */
} common;

static common qbinary_neon_common_make(const qbinary_op *q)
{
    return (common){ .za = vdup_n_u8((uint8_t)q->za), .zb = vdup_n_u8((uint8_t)q->zb), .sa = q->sa, .sb = q->sb,
                     .clamp = qepilogue_neon_clamp_make(&q->clamp), .finite = qbinary_small(q) };
}

/* 16 bytes less their zero point. */
PCX_INLINE void qbinary_neon_widen(uint8x16_t x, uint8x8_t zero, int16x8_t v[2])
{
    v[0] = vreinterpretq_s16_u16(vsubl_u8(vget_low_u8(x), zero));
    v[1] = vreinterpretq_s16_u16(vsubl_u8(vget_high_u8(x), zero));
}

PCX_INLINE uint8x16_t qbinary_neon_block(const common *k, int mul, int one, const uint8_t *a, const uint8_t *b)
{
    int16x8_t u[2], v[2];
    float32x4_t y[4];
    qbinary_neon_widen(vld1q_u8(a), k->za, u);
    qbinary_neon_widen(one ? vdupq_n_u8(*b) : vld1q_u8(b), k->zb, v);
    PCX_UNROLL for (int h = 0; h < 2; h++)
        if (mul) {
            y[2 * h] = vmulq_n_f32(vcvtq_f32_s32(vmull_s16(vget_low_s16(u[h]), vget_low_s16(v[h]))), k->sa);
            y[2 * h + 1] = vmulq_n_f32(vcvtq_f32_s32(vmull_high_s16(u[h], v[h])), k->sa);
        } else {
            const int32x4_t a0 = vmovl_s16(vget_low_s16(u[h])), a1 = vmovl_high_s16(u[h]);
            const int32x4_t b0 = vmovl_s16(vget_low_s16(v[h])), b1 = vmovl_high_s16(v[h]);
            y[2 * h] = vaddq_f32(vmulq_n_f32(vcvtq_f32_s32(a0), k->sa), vmulq_n_f32(vcvtq_f32_s32(b0), k->sb));
            y[2 * h + 1] = vaddq_f32(vmulq_n_f32(vcvtq_f32_s32(a1), k->sa), vmulq_n_f32(vcvtq_f32_s32(b1), k->sb));
        }
    return qepilogue_neon_bytes(y, &k->clamp, k->finite);
}

/* n >= STEP.  The last block, which may overlap the one before, is computed first: `out` may be `a` or `b`. */
PCX_INLINE void qbinary_neon_row_vectors(const qbinary_op *q, int mul, int one, size_t n, const uint8_t *a, const uint8_t *b,
                                         uint8_t *out)
{
    const common k = qbinary_neon_common_make(q);
    const size_t last = n - STEP;
    const uint8x16_t end = qbinary_neon_block(&k, mul, one, a + last, one ? b : b + last);
    for (size_t j = 0; j < last; j += STEP)
        vst1q_u8(out + j, qbinary_neon_block(&k, mul, one, a + j, one ? b : b + j));
    vst1q_u8(out + last, end);
}

PCX_INLINE void qbinary_neon_row(const qbinary_op *q, size_t n, const uint8_t *a, size_t sa, const uint8_t *b, size_t sb,
                                 uint8_t *out, size_t so)
{
    if (n < STEP || sa != 1 || sb > 1 || so != 1 || !qbinary_usual(q))
        qbinary_row(q, n, a, sa, b, sb, out, so);
    else if (q->mul && sb)
        qbinary_neon_row_vectors(q, 1, 0, n, a, b, out);
    else if (q->mul)
        qbinary_neon_row_vectors(q, 1, 1, n, a, b, out);
    else if (sb)
        qbinary_neon_row_vectors(q, 0, 0, n, a, b, out);
    else
        qbinary_neon_row_vectors(q, 0, 1, n, a, b, out);
}

void qbinary_neon(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qbinary_run(args, begin, end, qbinary_neon_row);
}
#endif
