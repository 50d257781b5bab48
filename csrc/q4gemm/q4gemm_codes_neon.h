/* q4gemm_codes_neon.h - 4-bit codes, their zero points and scales in registers of NEON. */
#ifndef PCX_Q4GEMM_CODES_NEON_H
#define PCX_Q4GEMM_CODES_NEON_H

#include "q4gemm.h"

#if PCX_ARM64
#include <arm_neon.h>

/* Zero points of a panel's group, each four times. */
PCX_INLINE void q4gemm_codes_neon_zeros(const pcx_q4gemm_args *p, size_t at, int8x16_t zero[4])
{
    static const uint8_t each[16] = { 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3 };
    const uint8x16_t codes = p->zero ? vld1q_u8(p->zero + at) : vdupq_n_u8(8);
    PCX_UNROLL for (uint8_t v = 0; v < 4; v++)
        zero[v] = vreinterpretq_s8_u8(vqtbl1q_u8(codes, vaddq_u8(vld1q_u8(each), vdupq_n_u8((uint8_t)(4 * v)))));
}

/* A step of 16 columns, four k each. */
PCX_INLINE void q4gemm_codes_neon_codes(const uint8_t *w, const int8x16_t zero[4], int8x16_t to[4])
{
    PCX_UNROLL for (int h = 0; h < 2; h++) {
        const uint8x16_t two = vld1q_u8(w + 16 * h);
        to[h] = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(two, vdupq_n_u8(15))), zero[h]);
        to[2 + h] = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(two, 4)), zero[2 + h]);
    }
}

PCX_INLINE float32x4_t q4gemm_codes_neon_scale(const pcx_q4gemm_args *p, size_t at)
{
    return p->st == PCX_F16 ? vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)p->scale + at)))
                            : vld1q_f32((const float *)p->scale + at);
}

#endif
#endif
