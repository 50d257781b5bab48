/* sgemm_finish_avx2.h - the sums of a tile, deep ones in parts, and from them to outputs. */
#ifndef PCX_SGEMM_FINISH_AVX2_H
#define PCX_SGEMM_FINISH_AVX2_H

#include "sgemm.h"

#include "../common/act_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

enum { LANES = 8, MAX = 8 }; /* MAX vectors of columns in a tile */

/* total += sum, and sum = 0. */
PCX_INLINE PCX_MAYBE_UNUSED void sgemm_finish_deposit(__m256 sum[][MAX], float *total, const int mr, const int nv)
{
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++) {
            float *to = total + (i * nv + v) * LANES;
            _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), sum[i][v]));
            sum[i][v] = _mm256_setzero_ps();
        }
    }
}

/* sum += total */
PCX_INLINE PCX_MAYBE_UNUSED void sgemm_finish_withdraw(__m256 sum[][MAX], const float *total, const int mr, const int nv)
{
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[i][v] = _mm256_add_ps(sum[i][v], _mm256_loadu_ps(total + (i * nv + v) * LANES));
    }
}

/* The epilogues in registers: none, two bounds, hardswish; all others go through memory. */
enum { PLAIN, BOUNDS, HARDSWISH, SLOW };

PCX_INLINE int sgemm_finish_kind(size_t act)
{
    return act <= PCX_ACT_CLIP ? act != PCX_ACT_NONE : act == PCX_ACT_HARDSWISH ? HARDSWISH : SLOW;
}

/* `count` numbers, whole vectors and a part of one, zero beyond them; none of these is read. */
PCX_INLINE PCX_MAYBE_UNUSED __m256 sgemm_finish_load(const float *x, size_t count)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(x, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), lane));
}

/* The first `count` numbers of v, one to eight.  Masked stores are slow on some CPUs. */
PCX_INLINE PCX_MAYBE_UNUSED void sgemm_finish_put(float *out, __m256 v, size_t count)
{
    const __m128 low = _mm256_castps256_ps128(v);
    if (count >= 4) {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i last = _mm256_add_epi32(_mm256_set1_epi32((int)count - 4), lane);
        _mm_storeu_ps(out, low);
        _mm_storeu_ps(out + count - 4, _mm256_castps256_ps128(_mm256_permutevar8x32_ps(v, last)));
        return;
    }
    if (count > 1)
        _mm_storel_pi((__m64 *)(void *)out, low);
    if (count != 2)
        _mm_store_ss(out + count - 1, count == 1 ? low : _mm_movehl_ps(low, low));
}

/* sgemm_finish_avx2.c: to[0..width) = the first `count` of x, zero beyond. */
PCX_HIDDEN void sgemm_finish_copy(float *to, const float *x, size_t count, size_t width);
/* Finish mr x width sums that lie in memory: the last columns of a panel, or an activation that needs registers. */
PCX_HIDDEN void sgemm_finish_slowly(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t column,
                                    float *sum, size_t mr, size_t width);

/* sum = act(sum + residual), for mr rows x nv vectors; residual: NULL, or of the rows, `offset` before the tile. */
PCX_INLINE void sgemm_finish_tile(__m256 sum[][MAX], const float *const *residual, size_t offset, int how,
                                  const float *bounds, const int mr, const int nv)
{
    if (residual) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                sum[i][v] = _mm256_add_ps(sum[i][v], _mm256_loadu_ps(residual[i] + offset + v * LANES));
        }
    }
    if (how == BOUNDS) {
        PCX_OPAQUE(bounds); /* in no registers while there are sums */
        const __m256 low = _mm256_broadcast_ss(bounds), high = _mm256_broadcast_ss(bounds + 1);
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++) /* max and min return their second argument if one is NaN */
                sum[i][v] = _mm256_min_ps(high, _mm256_max_ps(low, sum[i][v]));
        }
    } else if (how == HARDSWISH) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                sum[i][v] = act_avx2_apply(sum[i][v], PCX_ACT_HARDSWISH, NULL);
        }
    }
}

PCX_TARGET_END
#endif
#endif
