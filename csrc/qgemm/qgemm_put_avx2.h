/* qgemm_put_avx2.h - 256 bits: from a tile's int32 sums in registers to outputs, for any kind of product. */
#ifndef PCX_QGEMM_PUT_AVX2_H
#define PCX_QGEMM_PUT_AVX2_H

#include "../common/qepilogue_avx2.h"
#include "qgemm_block.h"
#include "qgemm_step_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

enum { QGEMM_MR = 6 };

/* Where step s is, from a row on. */
PCX_INLINE ptrdiff_t qgemm_at(const ptrdiff_t *offset, const int table, size_t s)
{
    return table ? offset[s] : (ptrdiff_t)(4 * s);
}

/* Where a tile's outputs go, if straight from registers: row i and so on; a plain tail, or of a half. */
typedef struct {
    const qepilogue_avx2_columns *tail;
    size_t i, ldo;
    uint8_t *out;
} qgemm_target;

/* Rows [r, r + rows) of a tile, one or two, from int32 sums to bytes; `residual`: of row 0, or NULL. */
PCX_INLINE void qgemm_put(const qgemm_target *target, const int r, const int rows, __m256i sum[4],
                          const uint8_t *residual)
{
    const qepilogue_avx2_columns *const tail = target->tail;
    qepilogue_avx2_put(tail, qepilogue_avx2_sums(tail, sum), residual ? residual + (size_t)r * tail->tail->q.ldr : NULL,
                       rows == 2, target->out + (size_t)r * target->ldo, target->ldo);
}

/* int32 sums to outputs. */
PCX_INLINE void qgemm_finish_sums(const int mr, __m256i sum[][2], const qgemm_target *target)
{
    const uint8_t *const residual = qepilogue_avx2_residual(target->tail, target->i);
    PCX_UNROLL for (int r = 0; r < mr; r += 2) {
        const int next = r + 1 < mr ? r + 1 : r;
        __m256i both[4] = { sum[r][0], sum[r][1], sum[next][0], sum[next][1] };
        qgemm_put(target, r, 1 + next - r, both, residual);
    }
    if (target->tail->rise)
        qepilogue_avx2_lut(target->tail->rise, target->out, (size_t)mr, target->ldo, 0);
}

/* int32 sums of eight columns to outputs. */
PCX_INLINE void qgemm_finish_half(const int mr, __m256i sum[][2], const qgemm_target *target)
{
    const uint8_t *residual = qepilogue_avx2_residual(target->tail, target->i);
    const size_t ldr = target->tail->tail->q.ldr;
    PCX_UNROLL for (int r = 0; r < mr; r += 4) {
        __m256i four[4];
        const uint8_t *other[4];
        uint8_t *out[4];
        PCX_UNROLL for (int x = 0; x < 4; x++) { /* past the end, rows again */
            const int at = r + x < mr ? r + x : r + x - 2;
            four[x] = sum[at][0];
            out[x] = target->out + (size_t)at * target->ldo;
            other[x] = residual ? residual + (size_t)at * ldr : NULL;
        }
        qepilogue_avx2_put_half(target->tail, four, residual ? other : NULL, out);
    }
}

PCX_TARGET_END
#endif
#endif
