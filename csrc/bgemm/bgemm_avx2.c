/*
 * bgemm_avx2.c - bfloat16 without instructions for it: a number is the upper half of a float, so that a shift and a
 * mask make floats of a pair.  12 sums, 2 weights, a broadcast and the mask fill the 16 registers.
 */
#include "bgemm.h"

#include "../sgemm/sgemm_finish_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

PCX_INLINE __m256i bgemm_avx2_rounded(__m256i bits)
{
    const __m256i infinity = _mm256_set1_epi32(0x7f800000);
    const __m256i size = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x800000), size);
    const __m256i y = _mm256_blendv_epi8(up, quiet, _mm256_cmpgt_epi32(size, infinity));
    return _mm256_andnot_si256(tiny, _mm256_and_si256(y, _mm256_set1_epi32((int)0xffff0000)));
}

static void bgemm_avx2_round(const bgemm_source *s, char *to, size_t lda)
{
    static const int32_t mask[2 * LANES] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    const size_t rest = s->count % LANES;
    const __m256i kept = _mm256_loadu_si256((const __m256i *)(mask + LANES - rest));
    for (size_t i = 0; i < s->windows; i++) {
        float *out = (float *)(to + i * lda);
        for (size_t line = 0; line < s->lines; line++) {
            const float *x = s->from + i * s->window_step + line * s->line_step;
            for (size_t q = 0; q + LANES <= s->count; q += LANES, x += LANES, out += LANES)
                _mm256_storeu_si256((__m256i *)out, bgemm_avx2_rounded(_mm256_loadu_si256((const __m256i *)x)));
            if (rest)
                _mm256_maskstore_epi32((int *)out, kept,
                                       bgemm_avx2_rounded(_mm256_maskload_epi32((const int *)x, kept)));
            out += rest;
        }
    }
}

/* mr rows times nv halves of panels. */
PCX_INLINE void bgemm_avx2_tile(const bgemm_rows *r, size_t first, const uint16_t *w, size_t ldw, size_t from,
                                size_t steps, const float *start, float *to, const int mr, const int nv)
{
    const __m256i odd = _mm256_set1_epi32((int)0xffff0000);
    const float *a[SGEMM_TALL];
    __m256 sum[SGEMM_TALL][MAX];
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        a[i] = (const float *)(r->a + (first + (size_t)i) * r->lda);
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[i][v] = _mm256_loadu_ps(start + v * LANES);
    }
    for (size_t s = from; s < from + steps; s++) {
        PCX_OPAQUE(s); /* one index and fixed rows and panels, not a pointer for each */
        PCX_UNROLL
        for (int half = 0; half < 2; half++) {
            PCX_OPAQUE(w); /* weights are loaded again for the second half: there is no register to keep them */
            __m256 b[MAX];
            PCX_UNROLL
            for (int v = 0; v < nv; v++) {
                const uint16_t *at = w + (size_t)(v / 2) * ldw + s * BGEMM_PAIRS + v % 2 * 2 * LANES;
                const __m256i pairs = _mm256_loadu_si256((const __m256i *)at);
                b[v] = _mm256_castsi256_ps(half ? _mm256_and_si256(pairs, odd) : _mm256_slli_epi32(pairs, 16));
            }
            PCX_UNROLL
            for (int i = 0; i < mr; i++) {
                const __m256 x = _mm256_broadcast_ss(a[i] + 2 * s + half);
                PCX_UNROLL
                for (int v = 0; v < nv; v++)
                    PCX_FMADD(sum[i][v], x, b[v]);
            }
        }
    }
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            _mm256_storeu_ps(to + (i * nv + v) * LANES, sum[i][v]);
    }
}

#define TILE(mr, nv)                                                                                             \
    static void bgemm_avx2_tile_##mr##x##nv(const bgemm_rows *r, size_t first, const uint16_t *w, size_t ldw,    \
                                            size_t from, size_t steps, const float *start, float *sum)           \
    {                                                                                                            \
        bgemm_avx2_tile(r, first, w, ldw, from, steps, start, sum, mr, nv);                                      \
    }
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)
TILE(1, 4) TILE(2, 4) TILE(1, 8)
#undef TILE

static bgemm_tile *const bgemm_avx2_tiles_1[] = { NULL,
                                                  bgemm_avx2_tile_1x2,
                                                  bgemm_avx2_tile_2x2,
                                                  bgemm_avx2_tile_3x2,
                                                  bgemm_avx2_tile_4x2,
                                                  bgemm_avx2_tile_5x2,
                                                  bgemm_avx2_tile_6x2 };
static bgemm_tile *const bgemm_avx2_tiles_2[] = { NULL, bgemm_avx2_tile_1x4, bgemm_avx2_tile_2x4 };
static bgemm_tile *const bgemm_avx2_tiles_4[] = { NULL, bgemm_avx2_tile_1x8 };

/* Of few rows, sums enough for the latency. */
static size_t bgemm_avx2_wide(size_t count, size_t panels)
{
    return count == 1 && panels >= 4 ? 4 : count <= 2 && panels >= 2 ? 2 : 1;
}

static void bgemm_avx2_finish(const bgemm_rows *r, size_t first, size_t count, const bgemm_target *to, size_t column,
                              float *sum, size_t width)
{
    sgemm_rows at;
    bgemm_rows_at(r, first, count, &at);
    sgemm_finish_slowly(&at, 0, &(sgemm_target){ NULL, 0, to->n, to->tail }, column, sum, count, width);
}

static void bgemm_avx2_run(const bgemm_rows *r, const bgemm_target *to, size_t begin, size_t end)
{
    static const bgemm_shapes shapes = { bgemm_avx2_wide,
                                         { 0, 6, 2, 0, 1 },
                                         { NULL, bgemm_avx2_tiles_1, bgemm_avx2_tiles_2, NULL, bgemm_avx2_tiles_4 },
                                         bgemm_avx2_finish };
    bgemm_tiles(r, to, begin, end, &shapes);
}

PCX_HIDDEN extern const bgemm_micro bgemm_micro_avx2;
const bgemm_micro bgemm_micro_avx2 = { SGEMM_TALL, sizeof(float), bgemm_avx2_round, bgemm_avx2_run, 0 };

PCX_TARGET_END
#endif
