/*
 * bgemm_neon.c - bfloat16 without instructions for it: a number is the upper half of a float.  Rows are rounded to such
 * floats, a panel's weights become floats in scratch, once for all rows of a block, and sgemm's tiles multiply them: the
 * products are exact, each sum is rounded to nearest, so sgemm's bound of k + 2 halves of a unit in the last place holds, which
 * is less than bgemm's.
 */
#include "bgemm.h"

#if PCX_ARM64
#include <arm_neon.h>

enum { LANES = 4, BGEMM_NEON_PANEL = BGEMM_PAIRS * sizeof(float) };

/* To nearest, ties to even; NaN stays one, and subnormal numbers become zero. */
PCX_INLINE float32x4_t bgemm_neon_rounded(float32x4_t x)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(x), size = vandq_u32(bits, vdupq_n_u32(0x7fffffff));
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    const uint32x4_t y = vbslq_u32(vcgtq_u32(size, vdupq_n_u32(0x7f800000)), quiet, up);
    const uint32x4_t normal = vcgtq_u32(size, vdupq_n_u32(0x7fffff));
    return vreinterpretq_f32_u32(vandq_u32(vandq_u32(y, vdupq_n_u32(0xffff0000)), normal));
}

static void bgemm_neon_round(const bgemm_source *source, char *to, size_t lda)
{
    const bgemm_source s = *source;
    const size_t whole = s.count / LANES * LANES, rest = (s.count - whole) * sizeof(float);
    for (size_t i = 0; i < s.windows; i++, to += lda) {
        const float *x = s.from + i * s.window_step;
        float *out = (float *)(void *)to, last[LANES] = { 0 };
        for (size_t line = 0; line < s.lines; line++, x += s.line_step, out += s.count) {
            for (size_t q = 0; q < whole; q += LANES)
                vst1q_f32(out + q, bgemm_neon_rounded(vld1q_f32(x + q)));
            memcpy(last, x + whole, rest);
            vst1q_f32(last, bgemm_neon_rounded(vld1q_f32(last)));
            memcpy(out + whole, last, rest);
        }
    }
}

/* A panel's weights, pairs along the sum, to floats as sgemm reads them. */
static void bgemm_neon_widen(const uint16_t *w, size_t steps, float *to)
{
    for (size_t s = 0; s < steps; s++, to += BGEMM_PAIRS)
        for (size_t v = 0; v < SGEMM_NR; v += LANES, w += 2 * LANES) {
            const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(w));
            vst1q_f32(to + v, vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16)));
            vst1q_f32(to + SGEMM_NR + v, vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000))));
        }
}

static void bgemm_neon_run(const bgemm_rows *r, const bgemm_target *to, size_t begin, size_t end)
{
    const sgemm_target floats = { r->panel, 0, to->n, to->tail };
    sgemm_rows some = { .lines = 1, .runs = 1, .length = 2 * r->steps };
    for (size_t panel = begin; panel < end; panel++) {
        bgemm_neon_widen(to->w + panel * to->ldw, r->steps, r->panel);
        for (size_t first = 0; first < r->count; first += some.count) {
            bgemm_rows_at(r, first, min_size(SGEMM_MB, r->count - first), &some);
            for (size_t i = 0; i < some.count; i++)
                some.a[i] = (const float *)(const void *)(r->a + (first + i) * r->lda);
            sgemm_rows_neon(&some, &floats, panel, panel + 1);
        }
    }
}

PCX_HIDDEN extern const bgemm_micro bgemm_micro_neon;
const bgemm_micro bgemm_micro_neon = { SGEMM_TALL, sizeof(float), bgemm_neon_round, bgemm_neon_run, BGEMM_NEON_PANEL };
#endif
