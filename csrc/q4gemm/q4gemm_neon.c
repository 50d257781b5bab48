/*
 * q4gemm_neon.c - 4-bit weights without dot products: q4gemm_tile_neon.h.  Products are at most 15 * 128 in size, so that two
 * of them fit int16.
 */
#include "../common/pcx.h"

#if PCX_ARM64
#include <arm_neon.h>

PCX_INLINE int32x4_t q4gemm_neon_dot(int32x4_t sum, int8x16_t w, int8x16_t x)
{
    return vpadalq_s16(sum, vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)), vmull_high_s8(w, x)));
}

#define Q4N(name) q4gemm_neon_##name
#define Q4N_DOT(sum, w, x, lane) \
    ((sum) = q4gemm_neon_dot(sum, w, vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), lane))))
#include "q4gemm_tile_neon.h"

PCX_HIDDEN extern const q4gemm_micro q4gemm_micro_neon;
const q4gemm_micro q4gemm_micro_neon = Q4N_MICRO;
#endif
