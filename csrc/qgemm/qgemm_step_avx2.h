/* qgemm_step_avx2.h - AVX2: a step of four k of up to six rows x 16 columns, in int16; for qgemm and q4gemm. */
#ifndef PCX_QGEMM_STEP_AVX2_H
#define PCX_QGEMM_STEP_AVX2_H

#include "../common/pcx.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

PCX_INLINE __m256i qgemm_load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }
PCX_INLINE void qgemm_store(void *at, __m256i v) { _mm256_storeu_si256((__m256i *)at, v); }

PCX_INLINE __m256i qgemm_four(const uint8_t *at)
{
    int32_t four;
    memcpy(&four, at, 4);
    return _mm256_set1_epi32(four);
}

/* One step: acc += a . w in int16.  `halves`, here and below: of a panel, 1 where but 8 columns are needed. */
PCX_INLINE void qgemm_step(const int mr, const int halves, const uint8_t *const row[], ptrdiff_t at, const int8_t *w,
                           __m256i acc[][2])
{
    const __m256i w0 = qgemm_load(w), w1 = halves > 1 ? qgemm_load(w + 32) : w0;
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        const __m256i a = qgemm_four(row[r] + at);
        acc[r][0] = _mm256_add_epi16(acc[r][0], _mm256_maddubs_epi16(a, w0));
        PCX_KEEP(acc[r][0]);
        if (halves > 1) {
            acc[r][1] = _mm256_add_epi16(acc[r][1], _mm256_maddubs_epi16(a, w1));
            PCX_KEEP(acc[r][1]);
        }
    }
}

PCX_TARGET_END
#endif
#endif
