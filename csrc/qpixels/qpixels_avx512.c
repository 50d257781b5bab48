/* qpixels_avx512.c - 16 pixels at a time from channels that lie apart, or four from pixels that lie together. */
#include "qpixels.h"

#if PCX_X86
#include <immintrin.h>
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")

/* round_code less the zero point: see qpixels_grid.  NaN gives the lower limit. */
PCX_INLINE __m512i qpixels_avx512_codes(const qpixels_grid *g, __m512 x)
{
    const __m512 inverse = _mm512_set1_ps(g->inverse);
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(g->low)), _mm512_set1_ps(g->high));
    const __m512 q = _mm512_fmadd_ps(x, inverse, _mm512_mul_ps(x, _mm512_set1_ps(g->rest)));
    const __m512 r = _mm512_fnmadd_ps(q, _mm512_set1_ps(g->scale), x);
    return _mm512_cvtps_epi32(_mm512_fmadd_ps(r, inverse, q));
}

/* Channels apart, the floats of each together. */
PCX_INLINE void qpixels_avx512_channels(const size_t c, const qpixels_grid *grid, const qpixels_line *line, uint8_t *out)
{
    const qpixels_grid g = *grid;
    uint32_t zeros = 0;
    for (size_t q = 0; q < c; q++)
        zeros += (uint32_t)g.zero << 8 * q; /* modulo 2^32, as the sums below */
    for (size_t j = 0; j < line->n; j += 16) {
        const __mmask16 some = (__mmask16)(0xffff >> (16 - min_size(16, line->n - j)));
        __m512i four = _mm512_set1_epi32((int32_t)zeros);
        PCX_UNROLL for (size_t q = 0; q < c; q++) {
            const float *const at = line->x + q * line->xc + j;
            _mm_prefetch((const char *)((uintptr_t)at + QPIXELS_AHEAD), _MM_HINT_T0);
            const __m512 x = _mm512_maskz_loadu_ps(some, at);
            const __m512i codes = qpixels_avx512_codes(&g, x);
            four = _mm512_add_epi32(four, _mm512_sllv_epi32(codes, _mm512_set1_epi32((int32_t)(8 * q))));
        }
        _mm512_mask_storeu_epi32(out + 4 * j, some, four);
    }
}

/* The floats of four pixels within 16. */
static void qpixels_avx512_together(const qpixels_grid *grid, const qpixels_line *line, uint8_t *out)
{
    const qpixels_grid g = *grid;
    int32_t index[16];
    for (int x = 0; x < 16; x++)
        index[x] = x / 4 * (int)line->xw + x % 4;
    const __m512i at = _mm512_loadu_si512(index), zero = _mm512_set1_epi32(g.zero);
    const __mmask16 channels = (__mmask16)(0x1111 * ((1 << g.c) - 1));
    for (size_t j = 0; j < line->n; j += 4) {
        const size_t pixels = min_size(4, line->n - j), floats = (pixels - 1) * line->xw + g.c;
        const __m512 x = _mm512_maskz_loadu_ps((__mmask16)(0xffff >> (16 - floats)), line->x + j * line->xw);
        const __m512i codes = qpixels_avx512_codes(&g, _mm512_permutexvar_ps(at, x));
        const __m128i bytes = _mm512_maskz_cvtepi32_epi8(channels, _mm512_add_epi32(codes, zero));
        _mm_mask_storeu_epi32(out + 4 * j, (__mmask8)(0xf >> (4 - pixels)), bytes);
    }
}

static void qpixels_avx512_line(const qpixels_grid *g, const qpixels_line *line, uint8_t *out)
{
    if (!g->fast || !g->c || !line->n)
        qpixels_scalar_line(g, line, out);
    else if (line->xw == 1 && g->c == 3)
        qpixels_avx512_channels(3, g, line, out);
    else if (line->xw == 1)
        qpixels_avx512_channels(g->c, g, line, out);
    else if (line->xc == 1 && line->xw <= 4 && line->xw)
        qpixels_avx512_together(g, line, out);
    else
        qpixels_scalar_line(g, line, out);
}

void qpixels_avx512(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qpixels_any(args, begin, end, qpixels_avx512_line);
}

PCX_TARGET_END
#endif
