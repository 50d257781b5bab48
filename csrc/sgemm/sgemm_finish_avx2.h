/* sgemm_finish_avx2.h - the sums of a tile, deep ones in parts, and from them to its outputs: sgemm, hgemm and bspmm. */
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

/* Finish mr x width sums that lie in memory: the last columns of a panel, or an activation that needs registers. */
PCX_NOINLINE static void sgemm_finish_slowly(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t column,
                                             float *sum, size_t mr, size_t width)
{
    const pcx_epilogue *tail = to->tail;
    for (size_t i = 0; i < mr; i++, sum += width) {
        const float *residual = tail->residual ? r->residual[first + i] + column : NULL;
        float *out = r->out[first + i] + column;
        if (to->n - column < width) {
            sgemm_finish(tail, sum, residual, out, to->n - column);
            continue;
        }
        for (size_t j = 0; residual && j < width; j++)
            sum[j] += residual[j];
        act_avx2_row(out, sum, width, tail->act, tail->act_params);
    }
}

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
