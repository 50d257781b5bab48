/*
 * bgemm_avx512.c - what follows the sums, for all ISAs of 512 bits; and products where there is AVX-512 without BF16: a
 * shift and a mask make floats of a pair of weights, as in bgemm_avx2.c.
 */
#include "bgemm_tile_avx512.h"

#include "../sgemm/sgemm_tile_avx512.h"

#if PCX_X86

PCX_TARGET(PCX_TARGET_AVX512)

enum { LANES = 16 };

void bgemm_avx512_finish(const bgemm_rows *r, size_t first, size_t count, const bgemm_target *to, size_t column,
                         float *sum, size_t width)
{
    sgemm_rows at;
    bgemm_rows_at(r, first, count, &at);
    sgemm_finish_avx512(&at, 0, count, &(sgemm_target){ NULL, 0, to->n, to->tail }, column, sum, width);
}

PCX_INLINE __m512i bgemm_avx512_rounded(__m512i bits)
{
    const __m512i infinity = _mm512_set1_epi32(0x7f800000);
    const __m512i size = _mm512_and_epi32(bits, _mm512_set1_epi32(0x7fffffff));
    const __m512i odd = _mm512_and_epi32(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmpgt_epi32_mask(size, infinity);
    const __mmask16 normal = _mm512_cmpgt_epi32_mask(size, _mm512_set1_epi32(0x7fffff));
    const __m512i y = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_maskz_and_epi32(normal, y, _mm512_set1_epi32((int)0xffff0000));
}

static void bgemm_avx512_round(const bgemm_source *s, char *to, size_t lda)
{
    const size_t rest = s->count % LANES;
    const __mmask16 kept = (__mmask16)((1u << rest) - 1);
    for (size_t i = 0; i < s->windows; i++) {
        float *out = (float *)(to + i * lda);
        for (size_t line = 0; line < s->lines; line++) {
            const float *x = s->from + i * s->window_step + line * s->line_step;
            for (size_t q = 0; q + LANES <= s->count; q += LANES, x += LANES, out += LANES)
                _mm512_storeu_si512(out, bgemm_avx512_rounded(_mm512_loadu_si512(x)));
            if (rest)
                _mm512_mask_storeu_epi32(out, kept, bgemm_avx512_rounded(_mm512_maskz_loadu_epi32(kept, x)));
            out += rest;
        }
    }
}

/* mr rows times np panels. */
PCX_INLINE void bgemm_avx512_tile(const bgemm_rows *r, size_t first, const uint16_t *w, size_t ldw, size_t from,
                                  size_t steps, const float *start, float *to, const int mr, const int np)
{
    const __m512i odd = _mm512_set1_epi32((int)0xffff0000);
    const char *a = r->a + first * r->lda;
    const size_t lda = r->lda;
    __m512 sum[BGEMM_TILE_TALL][BGEMM_WIDE];
    PCX_UNROLL
    for (int v = 0; v < np; v++) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++)
            sum[i][v] = _mm512_loadu_ps(start + v * LANES);
    }
    w += from * BGEMM_PAIRS;
    a += from * 2 * sizeof(float);
    for (size_t s = 0; s < steps; s++, w += BGEMM_PAIRS, a += 2 * sizeof(float)) {
        PCX_UNROLL
        for (int half = 0; half < 2; half++) {
            PCX_OPAQUE(w); /* weights are loaded again for the second half: there is no register to keep them */
            __m512 b[BGEMM_WIDE];
            PCX_UNROLL
            for (int v = 0; v < np; v++) {
                const __m512i pairs = _mm512_loadu_si512(w + (size_t)v * ldw);
                b[v] = _mm512_castsi512_ps(half ? _mm512_and_epi32(pairs, odd) : _mm512_slli_epi32(pairs, 16));
            }
            PCX_UNROLL
            for (int i = 0; i < mr; i++) {
                const __m512 x = _mm512_set1_ps(((const float *)(a + (size_t)i * lda))[half]);
                PCX_UNROLL
                for (int v = 0; v < np; v++)
                    PCX_FMADD(sum[i][v], x, b[v]);
            }
        }
    }
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < np; v++)
            _mm512_storeu_ps(to + (i * np + v) * LANES, sum[i][v]);
    }
}

BGEMM_SHAPES(bgemm_avx512_tile)

static void bgemm_avx512_run(const bgemm_rows *r, const bgemm_target *to, size_t begin, size_t end)
{
    bgemm_tiles(r, to, begin, end, &bgemm_avx512_tile_shapes);
}

PCX_HIDDEN extern const bgemm_micro bgemm_micro_avx512;
const bgemm_micro bgemm_micro_avx512 = { BGEMM_TILE_TALL, sizeof(float), bgemm_avx512_round, bgemm_avx512_run, 0 };

PCX_TARGET_END
#endif
