/*
 * qgemm_neon.c - tiles of 3 rows x 8 columns without dot products, twice for a panel: smull and smlal multiply eight weights
 * of two columns with four activations, twice, and add products up in int16 over windows of one, two or four steps, as
 * qgemm_acc16_neon.c allows; sadalp adds pairs of these to int32.  12 sums, 12 int16 sums, two of weights and a row's
 * broadcast fill 28 registers.  u8 less 128 is i8, so sums start 128 colsum higher.
 *
 * Sums are int32, exact for k <= 65536 as 128 * 128 * 65536 < 2^31; with zero points and bias they are modulo 2^32.
 */
#include "qgemm.h"
#include "qgemm_tile_neon.h"

#if PCX_ARM64

/* A tile's rows, and weights of eight of the panel's columns. */
typedef struct {
    const uint8_t *row[3];
    const int8_t *w;
    const ptrdiff_t *offset; /* of each step, unless they are side by side */
} qgemm_neon_half;

enum { SIDE_BY_SIDE, BY_TABLE, SCATTERED }; /* steps; with BY_TABLE those of a window, with SCATTERED no two of them */

PCX_INLINE int8x16_t qgemm_neon_flip(uint8x16_t x) { return vreinterpretq_s8_u8(veorq_u8(x, vdupq_n_u8(128))); }

/* Steps [s, s + count) in int16, then to the sums; `count` is a constant. */
PCX_INLINE void qgemm_neon_window(const int mr, const int where, const int count, const qgemm_neon_half *h, size_t s,
                                  int32x4_t acc[][4])
{
    const int four = count == QGEMM_WINDOW && where != SCATTERED; /* a row's steps by one load */
    const ptrdiff_t first = where == SIDE_BY_SIDE ? (ptrdiff_t)(4 * s) : h->offset[s];
    int16x8_t part[3][4];
    int32x4_t row[3];
    PCX_UNROLL for (int r = 0; four && r < mr; r++)
        row[r] = vreinterpretq_s32_s8(qgemm_neon_flip(vld1q_u8(h->row[r] + first)));
    PCX_UNROLL for (int t = 0; t < count; t++) {
        const ptrdiff_t at = where == SIDE_BY_SIDE || !t ? first + 4 * t : h->offset[s + (size_t)t];
        const int8_t *w = h->w + (s + (size_t)t) * QGEMM_STEP;
        const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16);
        PCX_UNROLL for (int r = 0; r < mr; r++) {
            int8x16_t x;
            if (four) {
                x = vreinterpretq_s8_s32(vdupq_n_s32(row[r][t]));
            } else {
                uint32_t bytes;
                memcpy(&bytes, h->row[r] + at, sizeof bytes);
                x = qgemm_neon_flip(vreinterpretq_u8_u32(vdupq_n_u32(bytes)));
            }
            if (t == 0) {
                part[r][0] = vmull_s8(vget_low_s8(w0), vget_low_s8(x));
                part[r][1] = vmull_high_s8(w0, x);
                part[r][2] = vmull_s8(vget_low_s8(w1), vget_low_s8(x));
                part[r][3] = vmull_high_s8(w1, x);
            } else {
                part[r][0] = vmlal_s8(part[r][0], vget_low_s8(w0), vget_low_s8(x));
                part[r][1] = vmlal_high_s8(part[r][1], w0, x);
                part[r][2] = vmlal_s8(part[r][2], vget_low_s8(w1), vget_low_s8(x));
                part[r][3] = vmlal_high_s8(part[r][3], w1, x);
            }
        }
    }
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int v = 0; v < 4; v++)
            acc[r][v] = vpadalq_s16(acc[r][v], part[r][v]);
}

/* Sums of mr rows with eight columns of the panel, those from 8 half on. */
PCX_INLINE void qgemm_neon_half_sums(const int mr, const int where, const int half, const qgemm_neon_tile *t, int32x4_t sum[][4])
{
    const size_t steps = t->steps;
    const uint8_t *depth = t->depth;
    qgemm_neon_half h = { .w = t->w + half * (QGEMM_STEP / 2), .offset = t->offset };
    int32x4_t acc[3][4]; /* of two columns each, in pairs of k */
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        h.row[r] = t->row[r];
        PCX_UNROLL for (int v = 0; v < 4; v++)
            acc[r][v] = vdupq_n_s32(0);
    }
    const size_t whole = depth ? steps / QGEMM_WINDOW * QGEMM_WINDOW : 0;
    size_t s = 0;
    while (s < whole) {
        for (; s < whole && PCX_LIKELY(*depth == 4); s += QGEMM_WINDOW, depth++)
            qgemm_neon_window(mr, where, 4, &h, s, acc);
        if (s == whole)
            break;
        const size_t end = s + QGEMM_WINDOW, step = *depth++;
        for (; s < end; s += step)
            if (step == 2)
                qgemm_neon_window(mr, where, 2, &h, s, acc);
            else
                qgemm_neon_window(mr, where, 1, &h, s, acc);
    }
    for (; s < steps; s++)
        qgemm_neon_window(mr, where, 1, &h, s, acc);
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int v = 0; v < 2; v++)
            sum[r][2 * half + v] = vaddq_s32(vld1q_s32(t->start[r] + 8 * half + 4 * v),
                                             vpaddq_s32(acc[r][2 * v], acc[r][2 * v + 1]));
}

PCX_INLINE void qgemm_neon_sums(const int mr, const qgemm_neon_tile *t, int32x4_t sum[][4])
{
    const int where = !t->offset ? SIDE_BY_SIDE : t->together % QGEMM_WINDOW ? SCATTERED : BY_TABLE;
    PCX_UNROLL for (int half = 0; half < 2; half++)
        if (where == SIDE_BY_SIDE)
            qgemm_neon_half_sums(mr, SIDE_BY_SIDE, half, t, sum);
        else if (where == BY_TABLE)
            qgemm_neon_half_sums(mr, BY_TABLE, half, t, sum);
        else
            qgemm_neon_half_sums(mr, SCATTERED, half, t, sum);
}

QGEMM_NEON_PRODUCT(neon, 3, 1, 1, 0)
#endif
