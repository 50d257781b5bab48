/* qpixels_neon.c - four pixels at a time, from channels that lie apart, and from pixels that lie together. */
#include "qpixels.h"

#if PCX_ARM64
#include <arm_neon.h>

/* round_code less the zero point: see qpixels_grid.  NaN gives the lower limit. */
PCX_INLINE int32x4_t qpixels_neon_codes(const qpixels_grid *g, float32x4_t x)
{
    const float32x4_t low = vdupq_n_f32(g->low);
    x = vminq_f32(vbslq_f32(vcgtq_f32(x, low), x, low), vdupq_n_f32(g->high));
    return vcvtnq_s32_f32(vdivq_f32(x, vdupq_n_f32(g->scale)));
}

/* Channels apart, the floats of each together. */
static size_t qpixels_neon_channels(const qpixels_grid *grid, const qpixels_line *line, uint8_t *out)
{
    const qpixels_grid g = *grid;
    const size_t c = g.c;
    size_t j = 0;
    uint32_t zeros = 0;
    for (size_t q = 0; q < c; q++)
        zeros += (uint32_t)g.zero << 8 * q; /* modulo 2^32, as the sums below */
    for (; j + 4 <= line->n; j += 4) {
        uint32x4_t four = vdupq_n_u32(zeros);
        for (size_t q = 0; q < c; q++) {
            const int32x4_t codes = qpixels_neon_codes(&g, vld1q_f32(line->x + q * line->xc + j));
            four = vaddq_u32(four, vreinterpretq_u32_s32(vshlq_s32(codes, vdupq_n_s32((int32_t)(8 * q)))));
        }
        vst1q_u8(out + 4 * j, vreinterpretq_u8_u32(four));
    }
    return j;
}

/* The floats of a pixel together.  Four floats of each are read: of the last pixels of the line not all are its own. */
static size_t qpixels_neon_together(const qpixels_grid *grid, const qpixels_line *line, uint8_t *out)
{
    const qpixels_grid g = *grid;
    const size_t xw = line->xw, past = ceil_div(4 - g.c, xw); /* pixels from whose floats on that is so */
    const int32x4_t zero = vdupq_n_s32(g.zero);
    const uint8x16_t channels = vreinterpretq_u8_u32(vdupq_n_u32(g.c < 4 ? (1u << 8 * g.c) - 1 : UINT32_MAX));
    size_t j = 0;
    for (; j + 4 + past <= line->n; j += 4) {
        int16x8_t half[2];
        PCX_UNROLL for (int h = 0; h < 2; h++) {
            const float *x = line->x + (j + 2 * (size_t)h) * xw;
            const int32x4_t first = vaddq_s32(qpixels_neon_codes(&g, vld1q_f32(x)), zero);
            half[h] = vqmovn_high_s32(vqmovn_s32(first), vaddq_s32(qpixels_neon_codes(&g, vld1q_f32(x + xw)), zero));
        }
        vst1q_u8(out + 4 * j, vandq_u8(vqmovun_high_s16(vqmovun_s16(half[0]), half[1]), channels));
    }
    return j;
}

static void qpixels_neon_line(const qpixels_grid *g, const qpixels_line *line, uint8_t *out)
{
    size_t done = 0;
    if (g->fast && line->xw == 1)
        done = qpixels_neon_channels(g, line, out);
    else if (g->fast && line->xc == 1 && line->xw <= 4 && line->xw && g->c)
        done = qpixels_neon_together(g, line, out);
    const qpixels_line rest = qpixels_from(line, done);
    qpixels_scalar_line(g, &rest, out + 4 * done);
}

void qpixels_neon(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qpixels_any(args, begin, end, qpixels_neon_line);
}
#endif
