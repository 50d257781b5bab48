/* qspmm_neon.h - AArch64: vectors of four pixels, each four k as i8, u8 less 128; and from their sums to outputs. */
#ifndef PCX_QSPMM_NEON_H
#define PCX_QSPMM_NEON_H

#include "../common/qepilogue_neon.h"
#include "qspmm.h"

#if PCX_ARM64
enum { QSPMM_NEON_PX = 4, QSPMM_NEON_FLIP = 128 };

/* As qspmm_micro's. */
PCX_HIDDEN void qspmm_neon_gather(const uint8_t *const *row, size_t k, uint8_t *to, size_t step);
PCX_HIDDEN void qspmm_neon_finish(const pcx_qspmm_args *p, const qepilogue *tail, size_t j, size_t cols,
                                  const qspmm_workspace *r, const uint8_t *sums);

/* What output j's sums lack, since pixels are less 128: 128 times its weights' sum. */
PCX_INLINE uint32_t qspmm_neon_flipped(const pcx_qspmm_args *p, size_t j)
{
    const size_t first = 4 * (size_t)p->rows[j], end = 4 * (size_t)p->rows[j + 1];
    int32x4_t sum = vdupq_n_s32(0);
    size_t x = first;
    for (; x + 16 <= end; x += 16)
        sum = vpadalq_s16(sum, vpaddlq_s8(vld1q_s8(p->w + x)));
    int32_t all = vaddvq_s32(sum);
    for (; x < end; x++)
        all += p->w[x];
    return QSPMM_NEON_FLIP * (uint32_t)all;
}

/* 4 x 4 words, transposed. */
PCX_INLINE void qspmm_neon_transpose(int32x4_t x[4])
{
    const int64x2_t a = vreinterpretq_s64_s32(vtrn1q_s32(x[0], x[1])), b = vreinterpretq_s64_s32(vtrn2q_s32(x[0], x[1]));
    const int64x2_t c = vreinterpretq_s64_s32(vtrn1q_s32(x[2], x[3])), d = vreinterpretq_s64_s32(vtrn2q_s32(x[2], x[3]));
    x[0] = vreinterpretq_s32_s64(vtrn1q_s64(a, c));
    x[1] = vreinterpretq_s32_s64(vtrn1q_s64(b, d));
    x[2] = vreinterpretq_s32_s64(vtrn2q_s64(a, c));
    x[3] = vreinterpretq_s32_s64(vtrn2q_s64(b, d));
}
#endif
#endif
