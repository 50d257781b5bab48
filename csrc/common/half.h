/* half.h - IEEE binary16 to and from double, bfloat16 to and from float, rounding to nearest even. */
#ifndef PCX_HALF_H
#define PCX_HALF_H

#include "pcx.h"

static inline double half_to_double(uint16_t h)
{
    const uint64_t sign = (uint64_t)(h >> 15) << 63, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 0) {
        const double tiny = (double)mantissa * 0x1p-24;
        return sign ? -tiny : tiny;
    }
    const uint64_t wide = exponent == 31 ? 2047 : exponent + 1023 - 15;
    const uint64_t bits = sign | wide << 52 | mantissa << 42;
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

static inline uint16_t half_from_double(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    const uint16_t sign = (uint16_t)(bits >> 48 & 0x8000);
    const uint64_t size = bits & ~(1ull << 63);
    if (size > 0x7ff0000000000000ull)
        return sign | 0x7e00;
    if (size >= 0x40effe0000000000ull) /* 65520 and more */
        return sign | 0x7c00;
    if (size < 0x3f10000000000000ull) { /* below 2^-14: adding 2^28 leaves a multiple of 2^-24 in the low bits */
        double rounded;
        memcpy(&rounded, &size, 8);
        rounded += 0x1p28;
        memcpy(&bits, &rounded, 8);
        return sign | (uint16_t)(bits & 0xffff);
    }
    const uint64_t round = size + (size >> 42 & 1) + ((1ull << 41) - 1); /* may carry into the exponent */
    return sign | (uint16_t)((round >> 42) - ((1023 - 15) << 10));
}

static inline float half_bf16_to_float(uint16_t b)
{
    const uint32_t bits = (uint32_t)b << 16;
    float v;
    memcpy(&v, &bits, 4);
    return v;
}

static inline uint16_t half_bf16_from_float(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    if (v != v)
        return (uint16_t)(bits >> 16 & 0x8000) | 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* v rounded to bfloat16, to nearest, ties to even; subnormal numbers become zero. */
static inline float half_bf16_rounded(float v)
{
    const float tiny = 0x1p-126f;
    return v < tiny && v > -tiny ? 0 : half_bf16_to_float(half_bf16_from_float(v));
}

#endif
