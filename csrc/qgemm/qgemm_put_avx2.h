/* qgemm_put_avx2.h - 256 bits: from a tile's int32 sums in registers to outputs, whatever instruction made the sums. */
#ifndef PCX_QGEMM_PUT_AVX2_H
#define PCX_QGEMM_PUT_AVX2_H

#include "../common/qepilogue_avx2.h"
#include "qgemm_block.h"
#include "qgemm_step_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

enum { QGEMM_MR = 6 };

/* Where step s is, from a row on. */
PCX_INLINE ptrdiff_t qg_at(const ptrdiff_t *offset, const int table, size_t s)
{
    return table ? offset[s] : (ptrdiff_t)(4 * s);
}

/* Where a tile's outputs go, if straight from registers: row i and so on; a plain tail, or of a half. */
typedef struct {
    const qt_columns *tail;
    size_t i, ldo;
    uint8_t *out;
} qg_target;

/* Rows [r, r + rows) of a tile, one or two, from int32 sums to bytes; `theirs`, unless NULL, is row r's other summand. */
PCX_INLINE void qg_put(const qg_target *target, const int r, const int rows, __m256i sum[4], const uint8_t *theirs)
{
    const qt_columns *const tail = target->tail;
    qt_put_avx2(tail, qt_sums_avx2(tail, sum), theirs ? theirs + (size_t)r * tail->tail->q.ldr : NULL, rows == 2,
                target->out + (size_t)r * target->ldo, target->ldo);
}

/* int32 sums to outputs. */
PCX_INLINE void qg_finish_sums(const int mr, __m256i sum[][2], const qg_target *target)
{
    const uint8_t *const theirs = qt_theirs(target->tail, target->i);
    PCX_UNROLL for (int r = 0; r < mr; r += 2) {
        const int next = r + 1 < mr ? r + 1 : r;
        __m256i both[4] = { sum[r][0], sum[r][1], sum[next][0], sum[next][1] };
        qg_put(target, r, 1 + next - r, both, theirs);
    }
    if (target->tail->rise)
        qt_lut_avx2(target->tail->rise, target->out, (size_t)mr, target->ldo, 0);
}

/* int32 sums of eight columns to outputs. */
PCX_INLINE void qg_finish_half(const int mr, __m256i sum[][2], const qg_target *target)
{
    const uint8_t *theirs = qt_theirs(target->tail, target->i);
    const size_t ldr = target->tail->tail->q.ldr;
    PCX_UNROLL for (int r = 0; r < mr; r += 4) {
        __m256i four[4];
        const uint8_t *other[4];
        uint8_t *out[4];
        PCX_UNROLL for (int x = 0; x < 4; x++) { /* past the end, rows again */
            const int at = r + x < mr ? r + x : r + x - 2;
            four[x] = sum[at][0];
            out[x] = target->out + (size_t)at * target->ldo;
            other[x] = theirs ? theirs + (size_t)at * ldr : NULL;
        }
        qt_put_half_avx2(target->tail, four, theirs ? other : NULL, out);
    }
}

PCX_TARGET_END
#endif
#endif
