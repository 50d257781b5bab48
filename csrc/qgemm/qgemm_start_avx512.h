/* qgemm_start_avx512.h - AVX-512: where the sums of panels' columns start, as qgemm_columns and qgemm_start_rows. */
#ifndef PCX_QGEMM_START_AVX512_H
#define PCX_QGEMM_START_AVX512_H

#include "qgemm_block.h"

#if PCX_X86
#include <immintrin.h>
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")

/* qgemm_columns of one panel in registers. */
typedef struct {
    __m512i base, zero, w;
} qgemm_avx512_columns;

/* As qgemm_columns_make. */
PCX_INLINE qgemm_avx512_columns qgemm_avx512_columns_make(const qgemm_block *b, size_t j, size_t cols)
{
    const __mmask16 some = (__mmask16)(0xffff >> (QGEMM_NR - cols));
    const __m512i none = _mm512_setzero_si512(), colsum = _mm512_maskz_loadu_epi32(some, b->colsum + j);
    qgemm_avx512_columns c;
    c.w = b->wzp ? _mm512_maskz_loadu_epi32(some, b->wzp + j) : none;
    c.zero = _mm512_sub_epi32(colsum, _mm512_mullo_epi32(_mm512_set1_epi32((int32_t)b->k), c.w));
    c.base = b->tail->bias ? _mm512_maskz_loadu_epi32(some, b->tail->bias + j) : none;
    c.base = _mm512_sub_epi32(c.base, _mm512_mullo_epi32(_mm512_set1_epi32(b->zero ? 0 : b->azp), c.zero));
    return c;
}

/* Where the sums of the rows [r, r + rows) start: [rows][count][16]. */
static inline void qgemm_avx512_start(const qgemm_block *b, size_t r, size_t rows, const qgemm_avx512_columns *c,
                                      size_t count, int32_t (*start)[QGEMM_NR])
{
    for (size_t end = r + rows; r < end; r++) {
        const __m512i zero = _mm512_set1_epi32(b->zero ? b->zero[r] : 0);
        const __m512i sum = _mm512_set1_epi32(b->row_sum ? (int32_t)b->row_sum[r] : 0);
        for (size_t p = 0; p < count; p++, start++) {
            const __m512i less = _mm512_add_epi32(_mm512_mullo_epi32(zero, c[p].zero), _mm512_mullo_epi32(sum, c[p].w));
            _mm512_store_si512(start, _mm512_sub_epi32(c[p].base, less));
        }
    }
}

PCX_TARGET_END
#endif
#endif
