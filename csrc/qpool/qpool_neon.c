/*
 * qpool_neon.c - 16 or 64 channels at a time; means: sums in uint16, as long as they fit, then in uint32, modulo 2^32: exact up
 * to 2^23 cells.
 */
#include "../common/qepilogue_neon.h"
#include "qpool.h"

#if PCX_ARM64

enum { STEP = 16, WIDE = 4 /* vectors at a time */, CELLS = 65535 / 255 /* bytes that a uint16 sums up */ };

/* The sums so far, and none in uint16. */
PCX_INLINE void qpool_neon_flush(uint32x4_t sum[4], uint16x8_t half[2])
{
    PCX_UNROLL for (int h = 0; h < 2; h++) {
        sum[2 * h] = vaddw_u16(sum[2 * h], vget_low_u16(half[h]));
        sum[2 * h + 1] = vaddw_high_u16(sum[2 * h + 1], half[h]);
        half[h] = vdupq_n_u16(0);
    }
}

/* Channels [c, c + 16 * vectors). */
PCX_INLINE void qpool_neon_mean(const qpool_window *w, size_t c, const int vectors, uint8_t *out)
{
    const qepilogue_neon_clamp clamp = qepilogue_neon_clamp_make(&w->clamp);
    uint32x4_t sum[WIDE][4];
    uint16x8_t half[WIDE][2];
    size_t fit = CELLS;
    PCX_UNROLL for (int v = 0; v < vectors; v++) {
        half[v][0] = half[v][1] = vdupq_n_u16(0);
        PCX_UNROLL for (int i = 0; i < 4; i++)
            sum[v][i] = vdupq_n_u32(0);
    }
    for (size_t y = 0; y < w->rows; y++) {
        const uint8_t *x = w->x + y * w->row_step + c;
        for (size_t left = w->columns, some; left; left -= some) {
            some = min_size(left, fit);
            for (size_t i = 0; i < some; i++, x += w->column_step)
                PCX_UNROLL for (int v = 0; v < vectors; v++) {
                    const uint8x16_t bytes = vld1q_u8(x + STEP * v);
                    half[v][0] = vaddw_u8(half[v][0], vget_low_u8(bytes));
                    half[v][1] = vaddw_high_u8(half[v][1], bytes);
                }
            fit -= some;
            if (!fit) {
                PCX_UNROLL for (int v = 0; v < vectors; v++)
                    qpool_neon_flush(sum[v], half[v]);
                fit = CELLS;
            }
        }
    }
    PCX_UNROLL for (int v = 0; v < vectors; v++) {
        float32x4_t y[4];
        qpool_neon_flush(sum[v], half[v]);
        PCX_UNROLL for (int i = 0; i < 4; i++) {
            const uint32x4_t total = vsubq_u32(sum[v][i], vdupq_n_u32(w->zeros));
            y[i] = vmulq_n_f32(vcvtq_f32_s32(vreinterpretq_s32_u32(total)), w->scale);
        }
        vst1q_u8(out + c + STEP * v, qepilogue_neon_bytes(y, &clamp, 0));
    }
}

PCX_INLINE void qpool_neon_max(const qpool_window *w, size_t c, const int vectors, uint8_t *out)
{
    uint8x16_t top[WIDE];
    PCX_UNROLL for (int v = 0; v < vectors; v++)
        top[v] = vdupq_n_u8(0);
    for (size_t y = 0; y < w->rows; y++) {
        const uint8_t *x = w->x + y * w->row_step + c;
        for (size_t i = 0; i < w->columns; i++, x += w->column_step)
            PCX_UNROLL for (int v = 0; v < vectors; v++)
                top[v] = vmaxq_u8(top[v], vld1q_u8(x + STEP * v));
    }
    PCX_UNROLL for (int v = 0; v < vectors; v++)
        vst1q_u8(out + c + STEP * v, top[v]);
}

/* The last 16 channels may be some that were done before. */
PCX_INLINE void qpool_neon_channels(const qpool_window *w, size_t count, int max, uint8_t *out)
{
    size_t c = 0;
    if (count < STEP) {
        qpool_channels(w, count, max, out);
        return;
    }
    for (; c + WIDE * STEP <= count; c += WIDE * STEP)
        if (max)
            qpool_neon_max(w, c, WIDE, out);
        else
            qpool_neon_mean(w, c, WIDE, out);
    for (; c < count; c += STEP) {
        const size_t at = min_size(c, count - STEP);
        if (max)
            qpool_neon_max(w, at, 1, out);
        else
            qpool_neon_mean(w, at, 1, out);
    }
}

void qpool_neon(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qpool_run(args, begin, end, qpool_neon_channels);
}
#endif
