/* act_avx2.h - the activations of act.h, eight at a time.  FMA makes them differ from those in the last bits. */
#ifndef PCX_ACT_AVX2_H
#define PCX_ACT_AVX2_H

#include "act.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

/* As act_exp; the caller keeps x within [-88, 88.8], the comparisons here turn NaN into a bound. */
PCX_INLINE __m256 act_avx2_exp(__m256 x)
{
    static const float c[] = { 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f,
                               1.0f, 1.0f };
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 y = _mm256_set1_ps(1.9875691500e-4f);
    PCX_UNROLL
    for (int i = 0; i < 7; i++)
        y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(c[i]));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(y, _mm256_castsi256_ps(power));
}

PCX_INLINE __m256 act_avx2_sigmoid(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1), far = _mm256_set1_ps(88.8f);
    __m256 minus = _mm256_sub_ps(_mm256_setzero_ps(), x); /* min and max return their second argument if one is NaN */
    minus = _mm256_max_ps(_mm256_set1_ps(-88.0f), _mm256_min_ps(far, minus));
    return _mm256_div_ps(one, _mm256_add_ps(one, act_avx2_exp(minus)));
}

/* tanh as act_tanh does it. */
PCX_INLINE __m256 act_avx2_tanh(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1), two = _mm256_set1_ps(2), z = _mm256_mul_ps(x, x);
    __m256 series = _mm256_fmadd_ps(z, _mm256_set1_ps(-0.0519f), _mm256_set1_ps(0.133209f));
    series = _mm256_fmadd_ps(z, series, _mm256_set1_ps(-0.333332f));
    series = _mm256_fmadd_ps(_mm256_mul_ps(x, z), series, x);
    const __m256 large = _mm256_fmsub_ps(two, act_avx2_sigmoid(_mm256_add_ps(x, x)), one);
    return _mm256_blendv_ps(large, series, _mm256_cmp_ps(z, _mm256_set1_ps(0.0625f), _CMP_LT_OQ));
}

/* min(max(x, 0), 1) */
PCX_INLINE __m256 act_avx2_unit(__m256 x)
{
    return _mm256_min_ps(_mm256_set1_ps(1), _mm256_max_ps(_mm256_setzero_ps(), x));
}

PCX_INLINE __m256 act_avx2_apply(__m256 x, size_t act, const float *p)
{
    const __m256 zero = _mm256_setzero_ps();
    switch (act) {
    case PCX_ACT_RELU: return _mm256_max_ps(zero, x);
    case PCX_ACT_CLIP: return _mm256_min_ps(_mm256_set1_ps(p[1]), _mm256_max_ps(_mm256_set1_ps(p[0]), x));
    case PCX_ACT_LEAKY:
        return _mm256_blendv_ps(x, _mm256_mul_ps(_mm256_set1_ps(p[0]), x), _mm256_cmp_ps(x, zero, _CMP_LT_OQ));
    case PCX_ACT_HARDSIGMOID: return act_avx2_unit(_mm256_fmadd_ps(_mm256_set1_ps(p[0]), x, _mm256_set1_ps(p[1])));
    case PCX_ACT_HARDSWISH:
        return _mm256_mul_ps(x, act_avx2_unit(_mm256_fmadd_ps(x, _mm256_set1_ps(1.0f / 6), _mm256_set1_ps(0.5f))));
    case PCX_ACT_SIGMOID: return act_avx2_sigmoid(x);
    case PCX_ACT_SILU: return _mm256_mul_ps(x, act_avx2_sigmoid(x));
    case PCX_ACT_TANH: return act_avx2_tanh(x);
    default: return x;
    }
}

/* out = act(x): `count`, a multiple of 8, numbers; a loop for each activation. */
PCX_INLINE void act_avx2_row(float *out, const float *x, size_t count, size_t act, const float *p)
{
#define PCX_ACT_LOOP(code) \
    case code: \
        for (size_t i = 0; i < count; i += 8) \
            _mm256_storeu_ps(out + i, act_avx2_apply(_mm256_loadu_ps(x + i), code, p)); \
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
