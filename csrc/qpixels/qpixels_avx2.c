/* qpixels_avx2.c - eight pixels at a time from channels that lie apart, or four from pixels that lie together. */
#include "qpixels.h"

#if PCX_X86
#include <immintrin.h>
PCX_TARGET("avx2,fma")

/* round_code less the zero point: see qpixels_grid.  NaN gives the lower limit. */
PCX_INLINE __m256i qpixels_avx2_codes(const qpixels_grid *g, __m256 x)
{
    const __m256 inverse = _mm256_set1_ps(g->inverse);
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(g->low)), _mm256_set1_ps(g->high));
    const __m256 q = _mm256_fmadd_ps(x, inverse, _mm256_mul_ps(x, _mm256_set1_ps(g->rest)));
    const __m256 r = _mm256_fnmadd_ps(q, _mm256_set1_ps(g->scale), x);
    return _mm256_cvtps_epi32(_mm256_fmadd_ps(r, inverse, q));
}

/* Channels apart, the floats of each together. */
PCX_INLINE size_t qpixels_avx2_channels(const size_t c, const qpixels_grid *grid, const qpixels_line *line, uint8_t *out)
{
    const qpixels_grid g = *grid;
    size_t j = 0;
    uint32_t zeros = 0;
    for (size_t q = 0; q < c; q++)
        zeros += (uint32_t)g.zero << 8 * q; /* modulo 2^32, as the sums below */
    for (; j + 8 <= line->n; j += 8) {
        __m256i four = _mm256_set1_epi32((int32_t)zeros);
        PCX_UNROLL for (size_t q = 0; q < c; q++) {
            const float *const at = line->x + q * line->xc + j;
            _mm_prefetch((const char *)((uintptr_t)at + QPIXELS_AHEAD), _MM_HINT_T0);
            const __m256i codes = qpixels_avx2_codes(&g, _mm256_loadu_ps(at));
            four = _mm256_add_epi32(four, _mm256_sllv_epi32(codes, _mm256_set1_epi32((int32_t)(8 * q))));
        }
        _mm256_storeu_si256((void *)(out + 4 * j), four);
    }
    return j;
}

/* Pixels of xw <= 4 floats: the four floats from two pixels' beginnings on, the first in the low half. */
PCX_INLINE __m256 qpixels_avx2_two(const float *low, const float *high)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

/* The floats of a pixel together.  Four floats of each are read: of the last pixels of the line not all are its own. */
static size_t qpixels_avx2_together(const qpixels_grid *grid, const qpixels_line *line, uint8_t *out)
{
    const qpixels_grid g = *grid;
    const size_t xw = line->xw, past = ceil_div(4 - g.c, xw); /* pixels from whose floats on that is so */
    const __m256i zero = _mm256_set1_epi32(g.zero);
    const __m128i channels = _mm_set1_epi32(g.c < 4 ? (1 << 8 * (int)g.c) - 1 : -1);
    size_t j = 0;
    for (; j + 4 + past <= line->n; j += 4) {
        const float *x = line->x + j * xw;
        const __m256i even = qpixels_avx2_codes(&g, qpixels_avx2_two(x, x + 2 * xw));
        const __m256i odd = qpixels_avx2_codes(&g, qpixels_avx2_two(x + xw, x + 3 * xw));
        __m256i all = _mm256_packs_epi32(_mm256_add_epi32(even, zero), _mm256_add_epi32(odd, zero));
        all = _mm256_packus_epi16(all, all);
        const __m128i bytes = _mm_unpacklo_epi64(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
        _mm_storeu_si128((void *)(out + 4 * j), _mm_and_si128(bytes, channels));
    }
    return j;
}

static void qpixels_avx2_line(const qpixels_grid *g, const qpixels_line *line, uint8_t *out)
{
    size_t done = 0;
    if (g->fast && line->xw == 1 && g->c == 3)
        done = qpixels_avx2_channels(3, g, line, out);
    else if (g->fast && line->xw == 1)
        done = qpixels_avx2_channels(g->c, g, line, out);
    else if (g->fast && line->xc == 1 && line->xw <= 4 && line->xw && g->c)
        done = qpixels_avx2_together(g, line, out);
    const qpixels_line rest = qpixels_from(line, done);
    qpixels_scalar_line(g, &rest, out + 4 * done);
}

void qpixels_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qpixels_any(args, begin, end, qpixels_avx2_line);
}

PCX_TARGET_END
#endif
