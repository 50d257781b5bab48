/*
 * csrmv_neon.c - eight products at a time, in eight sums: weights are loaded four at a time, and columns, and a number of x
 * is multiplied by a lane of weights.  Four products are 6 loads (12 where each is loaded by itself), which are what limits:
 * llvm-mca 19, cycles for eight products on cortex-a72 14.2 (scalar 22.3), neoverse-n1 9.2 (12.3), neoverse-v1 5.1 (7.6).
 */
#include "csrmv.h"

#if PCX_ARM64
#include <arm_neon.h>

enum { LANES = 4, TOGETHER = 8 };

/* sum[j] += w[j] * x[index[j]] for four j. */
PCX_INLINE void csrmv_neon_four(const float *x, const float *w, const uint16_t *index, float *sum)
{
    const float32x4_t by = vld1q_f32(w);
    uint64_t columns;
    memcpy(&columns, index, sizeof columns);
    sum[0] = vfmas_laneq_f32(sum[0], x[columns & 0xffff], by, 0);
    sum[1] = vfmas_laneq_f32(sum[1], x[columns >> 16 & 0xffff], by, 1);
    sum[2] = vfmas_laneq_f32(sum[2], x[columns >> 32 & 0xffff], by, 2);
    sum[3] = vfmas_laneq_f32(sum[3], x[columns >> 48], by, 3);
}

PCX_INLINE float csrmv_neon_sum(const pcx_csrmv_args *p, size_t begin, size_t end)
{
    const float *const x = p->x, *const w = p->w;
    const uint16_t *const index = p->index;
    float sum[TOGETHER] = { 0 };
    size_t i = begin;
    for (; i + TOGETHER <= end; i += TOGETHER) {
        csrmv_neon_four(x, w + i, index + i, sum);
        csrmv_neon_four(x, w + i + LANES, index + i + LANES, sum + LANES);
    }
    for (; i + LANES <= end; i += LANES)
        csrmv_neon_four(x, w + i, index + i, sum);
    for (; i < end; i++)
        sum[LANES] += w[i] * x[index[i]];
    for (size_t j = 0; j < LANES; j++)
        sum[j] += sum[j + LANES];
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

void csrmv_neon(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    csrmv_walk(args, begin, end, csrmv_neon_sum);
}

#endif
