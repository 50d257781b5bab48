/* sgemm_finish_neon.h - the sums of a tile, deep ones in parts, and from them to outputs. */
#ifndef PCX_SGEMM_FINISH_NEON_H
#define PCX_SGEMM_FINISH_NEON_H

#include "sgemm.h"

#include "../common/act_neon.h"

#if PCX_ARM64

enum { SGEMM_NEON_LANES = 4, SGEMM_NEON_MAX = 16 }; /* MAX vectors of columns in a tile; 24 sums at most */

/* Sums that wait for others, and outputs on their way. */
typedef float sgemm_neon_part[24 * SGEMM_NEON_LANES];

PCX_INLINE PCX_MAYBE_UNUSED void sgemm_neon_put(float *to, float32x4_t sum[][SGEMM_NEON_MAX], const int mr, const int nv)
{
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            vst1q_f32(to + (i * nv + v) * SGEMM_NEON_LANES, sum[i][v]);
    }
}

/* sum += total */
PCX_INLINE PCX_MAYBE_UNUSED void sgemm_neon_add(float32x4_t sum[][SGEMM_NEON_MAX], const float *total, const int mr,
                                                const int nv)
{
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[i][v] = vaddq_f32(sum[i][v], vld1q_f32(total + (i * nv + v) * SGEMM_NEON_LANES));
    }
}

/* total += sum, and sum = 0. */
PCX_INLINE PCX_MAYBE_UNUSED void sgemm_neon_deposit(float32x4_t sum[][SGEMM_NEON_MAX], float *total, const int mr,
                                                    const int nv)
{
    sgemm_neon_add(sum, total, mr, nv);
    sgemm_neon_put(total, sum, mr, nv);
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[i][v] = vdupq_n_f32(0);
    }
}

/* sgemm_finish_neon.c: the same for mr x width sums that lie in memory, of which some columns may be beyond the last. */
PCX_HIDDEN void sgemm_neon_finish_slowly(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t column,
                                         float *sum, size_t mr, size_t width);

/* Every row of the tile begins as bias[column ..]; beyond the last column it is zero. */
PCX_INLINE PCX_MAYBE_UNUSED void sgemm_neon_start(const sgemm_target *to, size_t column, float32x4_t sum[][SGEMM_NEON_MAX],
                                                  const int mr, const int nv)
{
    const size_t width = (size_t)nv * SGEMM_NEON_LANES;
    const float *bias = to->tail->bias ? to->tail->bias + column : NULL;
    float part[SGEMM_NEON_MAX * SGEMM_NEON_LANES];
    if (bias && !PCX_LIKELY(column + width <= to->n)) {
        memset(part, 0, width * sizeof *part);
        memcpy(part, bias, (to->n - column) * sizeof *part);
        bias = part;
    }
    PCX_UNROLL
    for (int v = 0; v < nv; v++) {
        sum[0][v] = bias ? vld1q_f32(bias + v * SGEMM_NEON_LANES) : vdupq_n_f32(0);
        PCX_UNROLL
        for (int i = 1; i < mr; i++)
            sum[i][v] = sum[0][v];
    }
}

/* out = act(sum + residual), for mr rows from `first` on x nv vectors from `column` on. */
PCX_INLINE PCX_MAYBE_UNUSED void sgemm_neon_finish(const sgemm_rows *r, size_t first, const sgemm_target *to,
                                                   size_t column, float32x4_t sum[][SGEMM_NEON_MAX], const int mr,
                                                   const int nv)
{
    const pcx_epilogue *const tail = to->tail;
    const act_neon_kind how = act_neon_kind_of(tail->act);
    if (!PCX_LIKELY(column + (size_t)nv * SGEMM_NEON_LANES <= to->n && how != ACT_NEON_SLOW)) {
        sgemm_neon_part part;
        sgemm_neon_put(part, sum, mr, nv);
        sgemm_neon_finish_slowly(r, first, to, column, part, (size_t)mr, (size_t)nv * SGEMM_NEON_LANES);
        return;
    }
    float bounds[2];
    act_bounds(tail->act, tail->act_params, bounds, bounds + 1);
    const float32x4_t low = vdupq_n_f32(bounds[0]), high = vdupq_n_f32(bounds[1]);
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        float *const out = r->out[first + i] + column;
        const float *const residual = tail->residual ? r->residual[first + i] + column : NULL;
        if (residual) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                sum[i][v] = vaddq_f32(sum[i][v], vld1q_f32(residual + v * SGEMM_NEON_LANES));
        }
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            vst1q_f32(out + v * SGEMM_NEON_LANES, how == ACT_NEON_HARDSWISH ? act_neon_hardswish(sum[i][v])
                                                                          : act_neon_bounds(sum[i][v], low, high));
    }
}

#endif
#endif
