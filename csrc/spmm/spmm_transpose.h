/* spmm_transpose.h - 8 x 8 floats in registers. */
#ifndef PCX_SPMM_TRANSPOSE_H
#define PCX_SPMM_TRANSPOSE_H

#include "../runtime/pcx.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

/* out[i] = element i of from[0], ..., from[7], which need not be aligned. */
PCX_INLINE void transpose_8x8(const float *const from[8], __m256 out[8])
{
    PCX_UNROLL
    for (int half = 0; half < 2; half++) { /* of each row; the second half of a vector comes straight from memory */
        __m256 r[4];
        PCX_UNROLL
        for (int i = 0; i < 4; i++)
            r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from[i] + half * 4)),
                                        _mm_loadu_ps(from[i + 4] + half * 4), 1);
        const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r[0], r[1])),
                      b = _mm256_castps_pd(_mm256_unpackhi_ps(r[0], r[1])),
                      c = _mm256_castps_pd(_mm256_unpacklo_ps(r[2], r[3])),
                      d = _mm256_castps_pd(_mm256_unpackhi_ps(r[2], r[3]));
        out[half * 4] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
        out[half * 4 + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
        out[half * 4 + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
        out[half * 4 + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
}

/*
 * out[q][p] = in[p][q], q < count; in[p] are rows of `count` floats, in_step apart, of which there are `rows` (1 to 8):
 * beyond the last, it is taken again.  out is 8 wide, out_step floats apart.
 */
PCX_INLINE void transpose_8(const float *in, size_t in_step, size_t rows, float *out, size_t out_step, size_t count)
{
    const float *from[8];
    __m256 t[8];
    for (size_t i = 0; i < 8; i++)
        from[i] = in + min_size(i, rows - 1) * in_step;
    size_t q = 0;
    for (; q + 8 <= count; q += 8) {
        transpose_8x8(from, t);
        PCX_UNROLL
        for (int i = 0; i < 8; i++) {
            _mm256_storeu_ps(out + (q + (size_t)i) * out_step, t[i]);
            from[i] += 8;
        }
    }
    for (; q < count; q++)
        for (size_t i = 0; i < 8; i++)
            out[q * out_step + i] = *from[i]++;
}

PCX_TARGET_END
#endif
#endif
