/* act_avx512.h - the activations of act.h, sixteen at a time, by the operations of act_avx2.h: the same bytes. */
#ifndef PCX_ACT_AVX512_H
#define PCX_ACT_AVX512_H

#include "act.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET(PCX_TARGET_AVX512)

/* As act_avx2_exp: the caller keeps x within [-88, 88.8]. */
PCX_INLINE __m512 act_avx512_exp(__m512 x)
{
    static const float c[] = { 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f,
                               1.0f, 1.0f };
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 y = _mm512_set1_ps(1.9875691500e-4f);
    PCX_UNROLL
    for (int i = 0; i < 7; i++)
        y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(c[i]));
    const __m512i power = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(y, _mm512_castsi512_ps(power));
}

PCX_INLINE __m512 act_avx512_sigmoid(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1), far = _mm512_set1_ps(88.8f);
    __m512 minus = _mm512_sub_ps(_mm512_setzero_ps(), x); /* min and max return their second argument if one is NaN */
    minus = _mm512_max_ps(_mm512_set1_ps(-88.0f), _mm512_min_ps(far, minus));
    return _mm512_div_ps(one, _mm512_add_ps(one, act_avx512_exp(minus)));
}

PCX_INLINE __m512 act_avx512_tanh(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1), two = _mm512_set1_ps(2), z = _mm512_mul_ps(x, x);
    __m512 series = _mm512_fmadd_ps(z, _mm512_set1_ps(-0.0519f), _mm512_set1_ps(0.133209f));
    series = _mm512_fmadd_ps(z, series, _mm512_set1_ps(-0.333332f));
    series = _mm512_fmadd_ps(_mm512_mul_ps(x, z), series, x);
    const __m512 large = _mm512_fmsub_ps(two, act_avx512_sigmoid(_mm512_add_ps(x, x)), one);
    return _mm512_mask_mov_ps(large, _mm512_cmp_ps_mask(z, _mm512_set1_ps(0.0625f), _CMP_LT_OQ), series);
}

/* min(max(x, 0), 1) */
PCX_INLINE __m512 act_avx512_unit(__m512 x)
{
    return _mm512_min_ps(_mm512_set1_ps(1), _mm512_max_ps(_mm512_setzero_ps(), x));
}

PCX_INLINE __m512 act_avx512_apply(__m512 x, size_t act, const float *p)
{
    const __m512 zero = _mm512_setzero_ps();
    switch (act) {
    case PCX_ACT_RELU: return _mm512_max_ps(zero, x);
    case PCX_ACT_CLIP: return _mm512_min_ps(_mm512_set1_ps(p[1]), _mm512_max_ps(_mm512_set1_ps(p[0]), x));
    case PCX_ACT_LEAKY:
        return _mm512_mask_mul_ps(x, _mm512_cmp_ps_mask(x, zero, _CMP_LT_OQ), _mm512_set1_ps(p[0]), x);
    case PCX_ACT_HARDSIGMOID: return act_avx512_unit(_mm512_fmadd_ps(_mm512_set1_ps(p[0]), x, _mm512_set1_ps(p[1])));
    case PCX_ACT_HARDSWISH:
        return _mm512_mul_ps(x, act_avx512_unit(_mm512_fmadd_ps(x, _mm512_set1_ps(1.0f / 6), _mm512_set1_ps(0.5f))));
    case PCX_ACT_SIGMOID: return act_avx512_sigmoid(x);
    case PCX_ACT_SILU: return _mm512_mul_ps(x, act_avx512_sigmoid(x));
    case PCX_ACT_TANH: return act_avx512_tanh(x);
    default: return x;
    }
}

/* out = act(x): `count`, a multiple of 16, numbers; a loop for each activation. */
PCX_INLINE void act_avx512_row(float *out, const float *x, size_t count, size_t act, const float *p)
{
#define PCX_ACT_LOOP(code) \
    case code: \
        for (size_t i = 0; i < count; i += 16) \
            _mm512_storeu_ps(out + i, act_avx512_apply(_mm512_loadu_ps(x + i), code, p)); \
        break;
    switch (act) {
        PCX_ACT_LOOP(PCX_ACT_NONE)
        PCX_ACT_LOOP(PCX_ACT_RELU)
        PCX_ACT_LOOP(PCX_ACT_CLIP)
        PCX_ACT_LOOP(PCX_ACT_LEAKY)
        PCX_ACT_LOOP(PCX_ACT_HARDSIGMOID)
        PCX_ACT_LOOP(PCX_ACT_HARDSWISH)
        PCX_ACT_LOOP(PCX_ACT_SIGMOID)
        PCX_ACT_LOOP(PCX_ACT_SILU)
        PCX_ACT_LOOP(PCX_ACT_TANH)
    }
#undef PCX_ACT_LOOP
}

PCX_TARGET_END
#endif
#endif
