/* act_neon.h - the activations that tiles apply in registers; the others are act_loop.h's, which compilers vectorise. */
#ifndef PCX_ACT_NEON_H
#define PCX_ACT_NEON_H

#include "act_loop.h"

#if PCX_ARM64
#include <arm_neon.h>

/* A NaN stays one: fmax and fmin return it whichever argument it is. */
PCX_INLINE float32x4_t act_neon_bounds(float32x4_t x, float32x4_t low, float32x4_t high)
{
    return vminq_f32(high, vmaxq_f32(low, x));
}

PCX_INLINE float32x4_t act_neon_hardswish(float32x4_t x)
{
    const float32x4_t unit = vfmaq_n_f32(vdupq_n_f32(0.5f), x, 1.0f / 6);
    return vmulq_f32(x, act_neon_bounds(unit, vdupq_n_f32(0), vdupq_n_f32(1)));
}

/* What follows a sum: nothing, two bounds, hardswish; all else goes through memory. */
typedef enum { ACT_NEON_PLAIN, ACT_NEON_BOUNDS, ACT_NEON_HARDSWISH, ACT_NEON_SLOW } act_neon_kind;

PCX_INLINE act_neon_kind act_neon_kind_of(size_t act)
{
    if (act > PCX_ACT_CLIP)
        return act == PCX_ACT_HARDSWISH ? ACT_NEON_HARDSWISH : ACT_NEON_SLOW;
    return act == PCX_ACT_NONE ? ACT_NEON_PLAIN : ACT_NEON_BOUNDS;
}

#endif
#endif
