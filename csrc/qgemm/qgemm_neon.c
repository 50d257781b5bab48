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
    const ptrdiff_t *offset; /* of each step; only with `table` */
} qgemm_neon_half;

/* Steps [s, s + count) in int16, then to the sums; `count` is a constant. */
PCX_INLINE void qgemm_neon_window(const int mr, const int table, const int count, const qgemm_neon_half *h, size_t s,
                                  int32x4_t acc[][4])
{
    const uint8x16_t flip = vdupq_n_u8(128);
    int16x8_t part[3][4];
    PCX_UNROLL for (int t = 0; t < count; t++) {
        const ptrdiff_t at = table ? h->offset[s + (size_t)t] : (ptrdiff_t)(4 * (s + (size_t)t));
        const int8_t *w = h->w + (s + (size_t)t) * QGEMM_STEP;
        const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16);
        PCX_UNROLL for (int r = 0; r < mr; r++) {
            uint32_t four;
            memcpy(&four, h->row[r] + at, sizeof four);
            const int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), flip));
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
PCX_INLINE void qgemm_neon_half_sums(const int mr, const int table, const int half, const qgemm_neon_tile *t, int32x4_t sum[][4])
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
    size_t s = 0;
    for (; s + QGEMM_WINDOW <= steps; s += QGEMM_WINDOW) {
        const int deep = depth ? *depth++ : 1;
        if (PCX_LIKELY(deep == 4))
            qgemm_neon_window(mr, table, 4, &h, s, acc);
        else if (deep == 2)
            for (size_t x = s; x < s + QGEMM_WINDOW; x += 2)
                qgemm_neon_window(mr, table, 2, &h, x, acc);
        else
            for (size_t x = s; x < s + QGEMM_WINDOW; x++)
                qgemm_neon_window(mr, table, 1, &h, x, acc);
    }
    for (; s < steps; s++)
        qgemm_neon_window(mr, table, 1, &h, s, acc);
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int v = 0; v < 2; v++)
            sum[r][2 * half + v] = vaddq_s32(vld1q_s32(t->start[r] + 8 * half + 4 * v),
                                             vpaddq_s32(acc[r][2 * v], acc[r][2 * v + 1]));
}

PCX_INLINE void qgemm_neon_sums(const int mr, const qgemm_neon_tile *t, int32x4_t sum[][4])
{
    if (t->offset) {
        qgemm_neon_half_sums(mr, 1, 0, t, sum);
        qgemm_neon_half_sums(mr, 1, 1, t, sum);
    } else {
        qgemm_neon_half_sums(mr, 0, 0, t, sum);
        qgemm_neon_half_sums(mr, 0, 1, t, sum);
    }
}

QGEMM_NEON_PRODUCT(neon, 3, 1, 1)
#endif
