/*
 * bgemm_avx512bf16.c - vdpbf16ps adds both products of a pair to a float: a step of a panel is one register.  It rounds
 * to nearest even and takes subnormal numbers for zero, whatever the float mode, and so does the conversion.
 */
#include "bgemm_tile_avx512.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")

enum { AHEAD = 1024 }; /* weights from where a single row meets them to where they are fetched */

/* mr rows times np panels. */
PCX_INLINE void bgemm_avx512bf16_tile(const bgemm_rows *r, size_t first, const uint16_t *w, size_t ldw, size_t from,
                                      size_t steps, const float *start, float *to, const int mr, const int np)
{
    const char *a = r->a + first * r->lda;
    const size_t lda = r->lda;
    __m512 sum[BGEMM_TILE_TALL][BGEMM_WIDE];
    PCX_UNROLL
    for (int v = 0; v < np; v++) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++)
            sum[i][v] = _mm512_loadu_ps(start + v * SGEMM_NR);
    }
    w += from * BGEMM_PAIRS;
    a += from * 2 * sizeof(uint16_t);
    for (size_t s = 0; s < steps; s++, w += BGEMM_PAIRS, a += 2 * sizeof(uint16_t)) {
        __m512i b[BGEMM_WIDE];
        PCX_UNROLL
        for (int v = 0; v < np; v++) {
            if (mr == 1)
                _mm_prefetch(w + (size_t)v * ldw + AHEAD, _MM_HINT_T0); /* beyond a panel the next one begins */
            b[v] = _mm512_loadu_si512(w + (size_t)v * ldw);
        }
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            int32_t pair;
            memcpy(&pair, a + (size_t)i * lda, sizeof pair);
            const __m512i x = _mm512_set1_epi32(pair);
            PCX_UNROLL
            for (int v = 0; v < np; v++)
                PCX_DPBF16(sum[i][v], x, b[v]);
        }
    }
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < np; v++)
            _mm512_storeu_ps(to + (i * np + v) * SGEMM_NR, sum[i][v]);
    }
}

BGEMM_SHAPES(bgemm_avx512bf16_tile)

static void bgemm_avx512bf16_run(const bgemm_rows *r, const bgemm_target *to, size_t begin, size_t end)
{
    bgemm_tiles(r, to, begin, end, &bgemm_avx512bf16_tile_shapes);
}

PCX_HIDDEN extern const bgemm_micro bgemm_micro_avx512bf16;
const bgemm_micro bgemm_micro_avx512bf16 = { BGEMM_TILE_TALL, sizeof(uint16_t), bgemm_avx512bf16_round,
                                             bgemm_avx512bf16_run, 0 };

/* By values: what is stored might be a part of `source`, as far as a compiler knows. */
void bgemm_avx512bf16_round(const bgemm_source *source, char *to, size_t lda)
{
    enum { LANES = 16 };
    const bgemm_source s = *source;
    const __mmask16 kept = (__mmask16)((1u << s.count % LANES) - 1);
    const size_t whole = s.count / LANES * LANES;
    for (size_t i = 0; i < s.windows; i++, to += lda) {
        const float *x = s.from + i * s.window_step;
        uint16_t *out = (uint16_t *)to;
        for (size_t line = 0; line < s.lines; line++, x += s.line_step, out += s.count) {
            for (size_t q = 0; q < whole; q += LANES)
                _mm256_storeu_si256((__m256i *)(out + q), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + q)));
            if (kept)
                _mm256_mask_storeu_epi16(out + whole, kept,
                                         (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(kept, x + whole)));
        }
    }
}

PCX_TARGET_END
#endif
