/* pdwconv_avx512.c - sixteen pixels a vector; the weights of a 5 x 5 window stay in registers. */
#include "pdwconv.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET(PCX_TARGET_AVX512)

enum { WIDTH = 16 };

/* Lanes below `count`. */
PCX_INLINE __mmask16 pdwconv_avx512_first_lanes(size_t count)
{
    return (__mmask16)(0xffff >> (WIDTH - min_size(count, WIDTH)));
}

/* Sixteen numbers at `in`, zero from `left` on. */
PCX_INLINE __m512 pdwconv_avx512_load_some(const float *in, size_t left)
{
    return _mm512_maskz_loadu_ps(pdwconv_avx512_first_lanes(left), in);
}

/* A line of n numbers between the zeros of scratch; past its end there are zeros, too. */
PCX_INLINE void pdwconv_avx512_put_line(const float *in, size_t n, float *to, size_t pl)
{
    for (size_t i = 0; i < n; i += WIDTH)
        _mm512_storeu_ps(to + pl + i, pdwconv_avx512_load_some(in + i, n - i));
}

/* The same, columns of padded positions 0, 2, 4 ... to `even`, and the others. */
PCX_INLINE void pdwconv_avx512_put_line_halves(const float *in, size_t n, float *even, float *odd, size_t pl)
{
    float *const first = (pl % 2 ? odd : even) + pl / 2, *const second = (pl % 2 ? even : odd) + (pl + 1) / 2;
    const __m512i twice = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i after = _mm512_add_epi32(twice, _mm512_set1_epi32(1));
    for (size_t i = 0; i < n; i += 2 * WIDTH) {
        const __m512 a = pdwconv_avx512_load_some(in + i, n - i);
        const __m512 b = n - i > WIDTH ? pdwconv_avx512_load_some(in + i + WIDTH, n - i - WIDTH) : _mm512_setzero_ps();
        _mm512_storeu_ps(first + i / 2, _mm512_permutex2var_ps(a, twice, b));
        _mm512_storeu_ps(second + i / 2, _mm512_permutex2var_ps(a, after, b));
    }
}

PCX_INLINE __m512 pdwconv_avx512_each(const float *w) { return _mm512_set1_ps(*w); }

#define PDWCONV(name)          pdwconv_avx512_##name
#define PDWCONV_LANES          16
#define PDWCONV_VECTOR         __m512
#define PDWCONV_LOAD           _mm512_loadu_ps
#define PDWCONV_STORE          _mm512_storeu_ps
#define PDWCONV_BROADCAST      pdwconv_avx512_each
#define PDWCONV_ZERO           _mm512_setzero_ps
#define PDWCONV_MIN            _mm512_min_ps
#define PDWCONV_MAX            _mm512_max_ps
#define PDWCONV_WEIGHT         __m512
#define PDWCONV_EACH           pdwconv_avx512_each
#define PDWCONV_FMA            _mm512_fmadd_ps
#define PDWCONV_SOME           __mmask16
#define PDWCONV_FIRST          pdwconv_avx512_first_lanes
#define PDWCONV_STORE_SOME     _mm512_mask_storeu_ps
#include "pdwconv_lines.h"

PCX_TARGET_END
#endif
