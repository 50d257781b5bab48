/* spmm_transpose.h - 8 x 8 floats in registers, and panels of them. */
#ifndef PCX_SPMM_TRANSPOSE_H
#define PCX_SPMM_TRANSPOSE_H

#include "spmm.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

/* The lower and upper halves of a vector; the upper one straight from memory takes no place among the shuffles. */
PCX_INLINE __m256 spmm_load_halves(const float *low, const float *high)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

/* As integers: some CPUs have two units for that, and one for floats. */
PCX_INLINE __m256i spmm_unpack_low(__m256 a, __m256 b)
{
    return _mm256_unpacklo_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b));
}

PCX_INLINE __m256i spmm_unpack_high(__m256 a, __m256 b)
{
    return _mm256_unpackhi_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b));
}

/* out[i] = element i of eight rows, which begin `step` floats apart. */
PCX_INLINE void spmm_transpose_8x8(const float *in, size_t step, __m256 out[8])
{
    const float *upper = in + 4 * step;
    PCX_UNROLL
    for (int half = 0; half < 8; half += 4) {
        const __m256 r0 = spmm_load_halves(in + half, upper + half),
                     r1 = spmm_load_halves(in + step + half, upper + step + half),
                     r2 = spmm_load_halves(in + 2 * step + half, upper + 2 * step + half),
                     r3 = spmm_load_halves(in + 3 * step + half, upper + 3 * step + half);
        const __m256i a = spmm_unpack_low(r0, r1), b = spmm_unpack_high(r0, r1), c = spmm_unpack_low(r2, r3),
                      d = spmm_unpack_high(r2, r3);
        out[half] = _mm256_castsi256_ps(_mm256_unpacklo_epi64(a, c));
        out[half + 1] = _mm256_castsi256_ps(_mm256_unpackhi_epi64(a, c));
        out[half + 2] = _mm256_castsi256_ps(_mm256_unpacklo_epi64(b, d));
        out[half + 3] = _mm256_castsi256_ps(_mm256_unpackhi_epi64(b, d));
    }
}

typedef __m256 spmm_eight;
#define SPMM_STORE_EIGHT _mm256_store_ps

PCX_TARGET_END
#elif PCX_ARM64
#include "../common/eight_neon.h"

typedef eight_neon spmm_eight;
#define SPMM_STORE_EIGHT eight_neon_store

/* out[i] = element i of eight rows, which begin `step` floats apart. */
PCX_INLINE void spmm_transpose_8x8(const float *in, size_t step, eight_neon out[8])
{
    PCX_UNROLL
    for (int half = 0; half < 8; half += 4) {
        const float *const x = in + half, *const y = x + 4 * step;
        float32x4_t low[4], high[4];
        eight_neon_turn_4(vld1q_f32(x), vld1q_f32(x + step), vld1q_f32(x + 2 * step), vld1q_f32(x + 3 * step), low);
        eight_neon_turn_4(vld1q_f32(y), vld1q_f32(y + step), vld1q_f32(y + 2 * step), vld1q_f32(y + 3 * step), high);
        PCX_UNROLL
        for (int i = 0; i < 4; i++)
            out[half + i] = (eight_neon){ low[i], high[i] };
    }
}
#endif

#if PCX_X86 || PCX_ARM64
#if PCX_X86
PCX_TARGET("avx2,fma")
#endif

/*
 * out[q][p] = in[spmm_pixel(p)][q], q < count, for `rows` rows, in_step apart, of `count` floats; rows of out, out_step
 * apart, are whole vectors.  Of less than eight rows, the last is taken again.  A few columns at a time, so that
 * lines, which are written by halves, stay near.
 */
PCX_INLINE void spmm_transpose_in(const float *in, size_t in_step, size_t rows, size_t lanes, float *out,
                                  size_t out_step, size_t count)
{
    enum { TOGETHER = 16 };
    for (size_t q = 0; rows < 8 && q < count; q++)
        for (size_t p = 0; p < lanes; p++)
            out[q * out_step + p] = in[min_size(p % 8, rows - 1) * in_step + q];
    for (size_t q = 0; rows >= 8 && q < count; q += TOGETHER)
        for (size_t p = 0; p < round_up(rows, lanes); p += 8) {
            const size_t stop = min_size(q + TOGETHER, count);
            const float *from = in + spmm_pixel(p, rows, lanes) * in_step;
            size_t at = q;
            for (; at + 8 <= stop; at += 8) {
                spmm_eight t[8];
                spmm_transpose_8x8(from + at, in_step, t);
                PCX_UNROLL
                for (int i = 0; i < 8; i++)
                    SPMM_STORE_EIGHT(out + (at + (size_t)i) * out_step + p, t[i]);
            }
            for (; at < stop; at++)
                for (size_t i = 0; i < 8; i++)
                    out[at * out_step + p + i] = from[i * in_step + at];
        }
}

#if PCX_X86
PCX_TARGET_END
#endif
#endif
#endif
