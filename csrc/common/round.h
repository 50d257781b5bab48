/* round.h - rounding to the nearest integer, ties to even: the same on every ISA, and vectorizable. */
#ifndef PCX_ROUND_H
#define PCX_ROUND_H

#include "pcx.h"

/* |v| <= 2^22: adding 1.5 * 2^23 leaves the integer in the low bits.  Anything else gives some integer. */
PCX_INLINE int32_t round_half_even(float v)
{
    const float shifted = v + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    return (int32_t)((uint32_t)bits - 0x4b400000u);
}

/* v in [lo, hi]; NaN gives lo. */
PCX_INLINE float round_clamp(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/*
 * clamp(round_half_even(v / scale) + zero, lo, hi) for any zero point and limits: in double, where int32 are exact.
 * NaN gives lo.
 */
PCX_INLINE int32_t round_code(float v, float scale, int32_t zero, int32_t lo, int32_t hi)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52 */
    double y = (double)(v / scale);
    y = y > -8e9 ? y : -8e9;
    y = y < 8e9 ? y : 8e9;
    y = (y + magic - magic) + zero;
    y = y > lo ? y : lo;
    y = y < hi ? y : hi;
    return (int32_t)y;
}

static inline int32_t round_byte(int32_t v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

#endif
