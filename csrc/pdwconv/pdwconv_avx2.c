/* pdwconv_avx2.c - eight pixels a vector. */
#include "pdwconv.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

enum { WIDTH = 8 };

/* Lanes below `count`. */
PCX_INLINE __m256i pdwconv_avx2_first_lanes(size_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)min_size(count, WIDTH)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Eight numbers at `in`, zero from `left` on. */
PCX_INLINE __m256 pdwconv_avx2_load_some(const float *in, size_t left)
{
    return PCX_LIKELY(left >= WIDTH) ? _mm256_loadu_ps(in) : _mm256_maskload_ps(in, pdwconv_avx2_first_lanes(left));
}

/* A line of n numbers between the zeros of scratch; past its end there are zeros, too. */
PCX_INLINE void pdwconv_avx2_put_line(const float *in, size_t n, float *to, size_t pl)
{
    for (size_t i = 0; i < n; i += WIDTH)
        _mm256_storeu_ps(to + pl + i, pdwconv_avx2_load_some(in + i, n - i));
}

/* The same, columns of padded positions 0, 2, 4 ... to `even`, and the others. */
PCX_INLINE void pdwconv_avx2_put_line_halves(const float *in, size_t n, float *even, float *odd, size_t pl)
{
    float *const to[2] = { pl % 2 ? odd : even, pl % 2 ? even : odd }; /* where in[0] and in[1] go */
    const size_t at[2] = { pl / 2, (pl + 1) / 2 };
    for (size_t i = 0; i < n; i += 2 * WIDTH) {
        const __m256 a = pdwconv_avx2_load_some(in + i, n - i);
        const __m256 b = n - i > WIDTH ? pdwconv_avx2_load_some(in + i + WIDTH, n - i - WIDTH) : _mm256_setzero_ps();
        const __m256 x = _mm256_shuffle_ps(a, b, 0x88), y = _mm256_shuffle_ps(a, b, 0xdd);
        const __m256d first = _mm256_castsi256_pd(_mm256_permute4x64_epi64(_mm256_castps_si256(x), 0xd8));
        const __m256d second = _mm256_castsi256_pd(_mm256_permute4x64_epi64(_mm256_castps_si256(y), 0xd8));
        _mm256_storeu_ps(to[0] + at[0] + i / 2, _mm256_castpd_ps(first));
        _mm256_storeu_ps(to[1] + at[1] + i / 2, _mm256_castpd_ps(second));
    }
}

#define PDWCONV(name)          pdwconv_avx2_##name
#define PDWCONV_LANES          8
#define PDWCONV_VECTOR         __m256
#define PDWCONV_LOAD           _mm256_loadu_ps
#define PDWCONV_STORE          _mm256_storeu_ps
#define PDWCONV_BROADCAST      _mm256_broadcast_ss
#define PDWCONV_ZERO           _mm256_setzero_ps
#define PDWCONV_MIN            _mm256_min_ps
#define PDWCONV_MAX            _mm256_max_ps
#define PDWCONV_WEIGHT         __m256
#define PDWCONV_EACH           _mm256_broadcast_ss
#define PDWCONV_FMA            _mm256_fmadd_ps
#define PDWCONV_SOME           __m256i
#define PDWCONV_FIRST          pdwconv_avx2_first_lanes
#define PDWCONV_STORE_SOME     _mm256_maskstore_ps
#include "pdwconv_lines.h"

PCX_TARGET_END
#endif
