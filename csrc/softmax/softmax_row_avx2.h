/* softmax_row_avx2.h - a contiguous row, eight at a time; see softmax_row. */
#ifndef PCX_SOFTMAX_ROW_AVX2_H
#define PCX_SOFTMAX_ROW_AVX2_H

#include "../common/act_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* e^(x - top); NaN where that is. */
PCX_INLINE __m256 softmax_avx2_exp(__m256 x, __m256 top)
{
    return act_avx2_exp(_mm256_max_ps(_mm256_set1_ps(-88.0f), _mm256_sub_ps(x, top)));
}

/* op over four vectors and their lanes. */
#define SOFTMAX_AVX2_JOIN(op, t, one)                                                                                \
    do {                                                                                                             \
        const __m256 all_ = op(op(t[0], t[1]), op(t[2], t[3]));                                                      \
        __m128 half_ = op##_128(_mm256_castps256_ps128(all_), _mm256_extractf128_ps(all_, 1));                       \
        half_ = op##_128(half_, _mm_movehl_ps(half_, half_));                                                        \
        one = _mm_cvtss_f32(op##_128(half_, _mm_movehdup_ps(half_)));                                                \
    } while (0)
#define SOFTMAX_MAX     _mm256_max_ps
#define SOFTMAX_MAX_128 _mm_max_ps
#define SOFTMAX_ADD     _mm256_add_ps
#define SOFTMAX_ADD_128 _mm_add_ps

PCX_INLINE void softmax_row_avx2(const float *x, size_t r, int log, float *out)
{
    static const int32_t masks[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    const __m256i some = _mm256_loadu_si256((const void *)(masks + 8 - r % 8));
    const __m256 low = _mm256_set1_ps(-INFINITY);
    __m256 t[4] = { low, low, low, low };
    size_t i = 0;
    for (; i + 32 <= r; i += 32)
        for (size_t v = 0; v < 4; v++) /* of a NaN and t, t */
            t[v] = _mm256_max_ps(_mm256_loadu_ps(x + i + 8 * v), t[v]);
    for (; i + 8 <= r; i += 8)
        t[0] = _mm256_max_ps(_mm256_loadu_ps(x + i), t[0]);
    const __m256 last = _mm256_maskload_ps(x + i, some);
    t[1] = _mm256_max_ps(_mm256_blendv_ps(low, last, _mm256_castsi256_ps(some)), t[1]);
    float top, total;
    SOFTMAX_AVX2_JOIN(SOFTMAX_MAX, t, top);

    const __m256 tops = _mm256_set1_ps(top);
    for (size_t v = 0; v < 4; v++)
        t[v] = _mm256_setzero_ps();
    for (i = 0; i + 32 <= r; i += 32)
        for (size_t v = 0; v < 4; v++) {
            const __m256 e = softmax_avx2_exp(_mm256_loadu_ps(x + i + 8 * v), tops);
            t[v] = _mm256_add_ps(t[v], e);
            if (!log)
                _mm256_storeu_ps(out + i + 8 * v, e);
        }
    for (; i + 8 <= r; i += 8) {
        const __m256 e = softmax_avx2_exp(_mm256_loadu_ps(x + i), tops);
        t[0] = _mm256_add_ps(t[0], e);
        if (!log)
            _mm256_storeu_ps(out + i, e);
    }
    const __m256 e = softmax_avx2_exp(last, tops);
    t[1] = _mm256_add_ps(t[1], _mm256_and_ps(e, _mm256_castsi256_ps(some)));
    SOFTMAX_AVX2_JOIN(SOFTMAX_ADD, t, total);

    const __m256 share = _mm256_set1_ps(1.0f / total), logs = _mm256_set1_ps(log ? logf(total) : 0);
    for (i = 0; i + 8 <= r; i += 8)
        _mm256_storeu_ps(out + i, log ? _mm256_sub_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), tops), logs)
                                      : _mm256_mul_ps(_mm256_loadu_ps(out + i), share));
    _mm256_maskstore_ps(out + i, some, log ? _mm256_sub_ps(_mm256_sub_ps(last, tops), logs) : _mm256_mul_ps(e, share));
}
#undef SOFTMAX_AVX2_JOIN
#undef SOFTMAX_MAX
#undef SOFTMAX_MAX_128
#undef SOFTMAX_ADD
#undef SOFTMAX_ADD_128

PCX_TARGET_END
#endif
#endif
