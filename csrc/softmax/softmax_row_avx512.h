/* softmax_row_avx512.h - a contiguous row, sixteen at a time; see softmax_row. */
#ifndef PCX_SOFTMAX_ROW_AVX512_H
#define PCX_SOFTMAX_ROW_AVX512_H

#include "../common/act_avx512.h"

#if PCX_X86
PCX_TARGET(PCX_TARGET_AVX512)

/* e^(x - top); NaN where that is. */
PCX_INLINE __m512 softmax_avx512_exp(__m512 x, __m512 top)
{
    return act_avx512_exp(_mm512_max_ps(_mm512_set1_ps(-88.0f), _mm512_sub_ps(x, top)));
}

PCX_INLINE void softmax_row_avx512(const float *x, size_t r, int log, float *out)
{
    const __mmask16 some = (__mmask16)((1u << r % 16) - 1);
    const __m512 low = _mm512_set1_ps(-INFINITY);
    __m512 t[2] = { low, low };
    size_t i = 0;
    for (; i + 32 <= r; i += 32)
        for (size_t v = 0; v < 2; v++) /* of a NaN and t, t */
            t[v] = _mm512_max_ps(_mm512_loadu_ps(x + i + 16 * v), t[v]);
    for (; i + 16 <= r; i += 16)
        t[0] = _mm512_max_ps(_mm512_loadu_ps(x + i), t[0]);
    const __m512 last = _mm512_mask_loadu_ps(low, some, x + i);
    t[1] = _mm512_max_ps(last, t[1]);
    const __m512 tops = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(t[0], t[1])));

    t[0] = t[1] = _mm512_setzero_ps();
    for (i = 0; i + 32 <= r; i += 32)
        for (size_t v = 0; v < 2; v++) {
            const __m512 e = softmax_avx512_exp(_mm512_loadu_ps(x + i + 16 * v), tops);
            t[v] = _mm512_add_ps(t[v], e);
            if (!log)
                _mm512_storeu_ps(out + i + 16 * v, e);
        }
    for (; i + 16 <= r; i += 16) {
        const __m512 e = softmax_avx512_exp(_mm512_loadu_ps(x + i), tops);
        t[0] = _mm512_add_ps(t[0], e);
        if (!log)
            _mm512_storeu_ps(out + i, e);
    }
    const __m512 e = softmax_avx512_exp(last, tops);
    t[1] = _mm512_mask_add_ps(t[1], some, t[1], e);
    const float total = _mm512_reduce_add_ps(_mm512_add_ps(t[0], t[1]));

    const __m512 share = _mm512_set1_ps(1.0f / total), logs = _mm512_set1_ps(log ? logf(total) : 0);
    for (i = 0; i + 16 <= r; i += 16)
        _mm512_storeu_ps(out + i, log ? _mm512_sub_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), tops), logs)
                                      : _mm512_mul_ps(_mm512_loadu_ps(out + i), share));
    _mm512_mask_storeu_ps(out + i, some,
                          log ? _mm512_sub_ps(_mm512_sub_ps(last, tops), logs) : _mm512_mul_ps(e, share));
}

PCX_TARGET_END
#endif
#endif
