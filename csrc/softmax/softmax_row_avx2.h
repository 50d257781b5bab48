/* softmax_row_avx2.h - softmax_row eight at a time, in its order and without FMA: the same bytes. */
#ifndef PCX_SOFTMAX_ROW_AVX2_H
#define PCX_SOFTMAX_ROW_AVX2_H

#include "../common/pcx.h"

#include <math.h>

#if PCX_X86
#include <immintrin.h>
PCX_TARGET("avx2,fma")

/* act_exp of x - top, which is at most 0, or NaN. */
PCX_INLINE __m256 softmax_avx2_exp(__m256 x, __m256 top)
{
    static const float c[] = { 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                               5.0000001201e-1f };
    const __m256 magic = _mm256_set1_ps(12582912.0f);
    const __m256 v = _mm256_max_ps(_mm256_set1_ps(-88.0f), _mm256_sub_ps(x, top)); /* the second one if that is NaN */
    const __m256 shifted = _mm256_add_ps(_mm256_mul_ps(v, _mm256_set1_ps(1.44269504f)), magic);
    const __m256 n = _mm256_sub_ps(shifted, magic);
    __m256 r = _mm256_sub_ps(v, _mm256_mul_ps(n, _mm256_set1_ps(0.693359375f)));
    r = _mm256_sub_ps(r, _mm256_mul_ps(n, _mm256_set1_ps(-2.12194440e-4f)));
    __m256 y = _mm256_set1_ps(1.9875691500e-4f);
    PCX_UNROLL
    for (int i = 0; i < 5; i++)
        y = _mm256_add_ps(_mm256_mul_ps(y, r), _mm256_set1_ps(c[i]));
    y = _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(_mm256_mul_ps(y, r), r), r), _mm256_set1_ps(1));
    const __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23); /* of n, modulo 2^9 */
    return _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(127 << 23))));
}

/* Which of `left` elements, more than 8 v, are in vector v. */
PCX_INLINE __m256i softmax_avx2_some(size_t left, size_t v)
{
    static const int32_t masks[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const void *)(masks + 8 - min_size(left - 8 * v, 8)));
}

/* The maximum of all lanes, or their sum. */
#define SOFTMAX_JOIN(op, t)                                                                                    \
    do {                                                                                                       \
        const __m256 all_ = _mm256_##op##_ps(_mm256_##op##_ps(t[0], t[2]), _mm256_##op##_ps(t[1], t[3]));      \
        __m128 half_ = _mm_##op##_ps(_mm256_castps256_ps128(all_), _mm256_extractf128_ps(all_, 1));            \
        half_ = _mm_##op##_ps(half_, _mm_movehl_ps(half_, half_));                                             \
        return _mm_cvtss_f32(_mm_##op##_ps(half_, _mm_movehdup_ps(half_)));                                    \
    } while (0)
PCX_INLINE float softmax_avx2_max(const __m256 t[4]) { SOFTMAX_JOIN(max, t); }
PCX_INLINE float softmax_avx2_sum(const __m256 t[4]) { SOFTMAX_JOIN(add, t); }
#undef SOFTMAX_JOIN

PCX_INLINE void softmax_row_avx2(const float *x, size_t r, int log, float *out)
{
    const size_t whole = r / 32 * 32, left = r - whole;
    const __m256 low = _mm256_set1_ps(-INFINITY);
    __m256 t[4] = { low, low, low, low };
    for (size_t i = 0; i < whole; i += 32)
        for (size_t v = 0; v < 4; v++) /* of a NaN and t, t */
            t[v] = _mm256_max_ps(_mm256_loadu_ps(x + i + 8 * v), t[v]);
    for (size_t v = 0; v < 4 && 8 * v < left; v++) {
        const __m256i some = softmax_avx2_some(left, v);
        const __m256 last = _mm256_maskload_ps(x + whole + 8 * v, some);
        t[v] = _mm256_max_ps(_mm256_blendv_ps(low, last, _mm256_castsi256_ps(some)), t[v]);
    }
    const float top = softmax_avx2_max(t);
    const __m256 tops = _mm256_set1_ps(top);
    for (size_t v = 0; v < 4; v++)
        t[v] = _mm256_setzero_ps();
    for (size_t i = 0; i < whole; i += 32)
        for (size_t v = 0; v < 4; v++) {
            const __m256 e = softmax_avx2_exp(_mm256_loadu_ps(x + i + 8 * v), tops);
            t[v] = _mm256_add_ps(t[v], e);
            if (!log)
                _mm256_storeu_ps(out + i + 8 * v, e);
        }
    for (size_t v = 0; v < 4 && 8 * v < left; v++) {
        const __m256i some = softmax_avx2_some(left, v);
        const __m256 e = softmax_avx2_exp(_mm256_maskload_ps(x + whole + 8 * v, some), tops);
        t[v] = _mm256_add_ps(t[v], _mm256_and_ps(e, _mm256_castsi256_ps(some)));
        if (!log)
            _mm256_maskstore_ps(out + whole + 8 * v, some, e);
    }
    const float total = softmax_avx2_sum(t), logarithm = log ? logf(total) : 0;
    const __m256 totals = _mm256_set1_ps(total), logs = _mm256_set1_ps(logarithm);
    size_t i = 0;
    for (; i + 8 <= r; i += 8)
        _mm256_storeu_ps(out + i, log ? _mm256_sub_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), tops), logs)
                                      : _mm256_div_ps(_mm256_loadu_ps(out + i), totals));
    if (i < r) {
        const __m256i some = softmax_avx2_some(r - i, 0);
        const __m256 last = _mm256_maskload_ps((log ? x : out) + i, some);
        _mm256_maskstore_ps(out + i, some, log ? _mm256_sub_ps(_mm256_sub_ps(last, tops), logs) : _mm256_div_ps(last, totals));
    }
}

PCX_TARGET_END
#endif
#endif
