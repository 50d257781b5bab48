/*
 * unary_angles.h - angles and hyperbolas.  `native`, a constant, is act_fma's.  All are an argument reduced to where the
 * polynomial holds, times 1 + z p(z), z its square, where the error of p stays below 2^-27 of the result; the roundings of
 * reduction, sum and product are below 10 * 2^-24 together.
 */
#ifndef PCX_UNARY_ANGLES_H
#define PCX_UNARY_ANGLES_H

#include "../common/act.h"

#include <math.h>

/* Beyond, multiples of pi / 2 are no longer exact enough. */
#define UNARY_FAR 65536.0f

/* c[0] + c[1] z + ... */
PCX_INLINE float unary_poly(float z, const float *c, const int n, const int native)
{
    float y = c[n - 1];
    PCX_UNROLL
    for (int i = n - 2; i >= 0; i--)
        y = act_fma(y, z, c[i], native);
    return y;
}

/* x with the sign of `of`. */
PCX_INLINE float unary_signed(float x, float of)
{
    uint32_t u, v;
    memcpy(&u, &x, 4);
    memcpy(&v, &of, 4);
    u = (u & 0x7fffffffu) | (v & 0x80000000u);
    memcpy(&x, &u, 4);
    return x;
}

/*
 * x = n pi / 2 + r, |r| < 0.81, for |x| <= UNARY_FAR: there x - n times the first 24 bits of pi / 2 is a float, and what the
 * three parts lack, n * 2^-71, is nothing beside the least |r| of any float.  All parts are positive, so that -0 stays -0.
 * Returns r; quarter: n, modulo 2^22.
 */
PCX_INLINE float unary_quarter(float x, uint32_t *quarter, const int native)
{
    const float magic = 12582912.0f, shifted = act_fma(x, 0.636619772f, magic, native), n = shifted - magic;
    memcpy(quarter, &shifted, 4);
    float r = act_fma(-n, 1.57079625f, x, native);
    r = act_fma(-n, 7.54978942e-8f, r, native);
    return act_fma(-n, 5.39030253e-15f, r, native);
}

/* sin(x + turn pi / 2) */
PCX_INLINE float unary_sin(float x, const uint32_t turn, const int native)
{
    static const float s[] = { -0.166666523f, 8.33201408e-3f, -1.94956447e-4f };
    static const float c[] = { -0.5f, 0.0416666418f, -1.38871302e-3f, 2.44120856e-5f };
    uint32_t quarter, bits;
    const float r = unary_quarter(x, &quarter, native), z = r * r;
    const float sine = r * act_fma(z, unary_poly(z, s, 3, native), 1, native);
    const float cosine = act_fma(z, unary_poly(z, c, 4, native), 1, native);
    quarter += turn;
    float y = act_either((quarter & 1) != 0, cosine, sine);
    memcpy(&bits, &y, 4);
    bits ^= (quarter & 2) << 30;
    memcpy(&y, &bits, 4);
    return y;
}

PCX_INLINE float unary_tan(float x, const int native)
{
    static const float c[] = { 0.333333552f,  0.133324564f,  0.0540846922f, 0.0211496539f,
                               0.0111880358f, -3.65329877e-4f, 4.60384553e-3f };
    uint32_t quarter;
    const float r = unary_quarter(x, &quarter, native), z = r * r;
    const float y = r * act_fma(z, unary_poly(z, c, 7, native), 1, native);
    return act_either((quarter & 1) != 0, -1.0f / y, y);
}

/* Beyond 1, pi / 2 - atan(1 / x). */
PCX_INLINE float unary_atan(float x, const int native)
{
    static const float c[] = { -0.333332986f,  0.19998531f,   -0.142640486f,  0.109511286f,  -0.0840022415f,
                               0.0579000078f, -0.0311181266f, 0.0108812954f, -1.78589788e-3f };
    const float a = fabsf(x), t = act_either(a > 1, 1.0f / a, a), z = t * t;
    const float y = t * act_fma(z, unary_poly(z, c, 9, native), 1, native);
    return unary_signed(act_either(a > 1, 1.57079637f - (y + 4.37113883e-8f), y), x);
}

/* asin(t) for 0 <= t <= 1/2, z = t * t */
PCX_INLINE float unary_asin_small(float t, float z, const int native)
{
    static const float c[] = { 0.166667536f, 0.0749525055f, 0.0454764366f, 0.0241490267f, 0.042218972f };
    return t * act_fma(z, unary_poly(z, c, 5, native), 1, native);
}

/* Beyond 1/2, asin(a) = pi / 2 - 2 asin(sqrt((1 - a) / 2)). */
PCX_INLINE float unary_asin(float x, const int native)
{
    const float a = fabsf(x), z = act_either(a > 0.5f, (1 - a) * 0.5f, a * a);
    const float y = unary_asin_small(act_either(a > 0.5f, sqrtf(z), a), z, native);
    return unary_signed(act_either(a > 0.5f, 1.57079637f - (2 * y + 4.37113883e-8f), y), x);
}

PCX_INLINE float unary_acos(float x, const int native)
{
    const float a = fabsf(x), z = act_either(a > 0.5f, (1 - a) * 0.5f, a * a);
    const float y = unary_asin_small(act_either(a > 0.5f, sqrtf(z), a), z, native);
    const float far = act_either(x > 0, 2 * y, 3.14159274f - (2 * y + 8.74227766e-8f));
    return act_either(a > 0.5f, far, 1.57079637f - (unary_signed(y, x) + 4.37113883e-8f));
}

/* h = e^|x| / 2 */
PCX_INLINE float unary_cosh(float h) { return h + 0.25f / h; }

/* From 1 on h - 1 / (4 h). */
PCX_INLINE float unary_sinh(float x, float h, const int native)
{
    static const float c[] = { 0.166666672f, 8.33331048e-3f, 1.98428956e-4f, 2.78221319e-6f };
    const float z = x * x, y = x * act_fma(z, unary_poly(z, c, 4, native), 1, native);
    return act_either(z < 1, y, unary_signed(h - 0.25f / h, x));
}

#endif
