/*
 * qlowrank_neon.c - the second product in tiles of 4 rows x 16 columns: smlal takes one of r at a time, from a lane of a
 * row's register; the panel of v is widened once for all rows of the block, to [r,16].  With dot products only the
 * first product gains.
 *
 * Sums are int32, exact for r <= 512 as 32767 * 128 * 512 < 2^31; with the bias they are modulo 2^32.
 */
#include "../common/qepilogue_neon.h"
#include "qlowrank.h"

#if PCX_ARM64

enum { QLOWRANK_NEON_MR = 4, QLOWRANK_NEON_LANES = 8 };

static void qlowrank_neon_halve(const pcx_qlowrank_args *p, const qlowrank_workspace *r, size_t rows)
{
    const float32x4_t low = vdupq_n_f32(-QLOWRANK_MOST), high = vdupq_n_f32(QLOWRANK_MOST);
    const size_t width = qlowrank_width(p);
    for (size_t j = 0; j < width; j += QGEMM_NR) {
        const size_t columns = min_size(QGEMM_NR, p->r - j);
        float scale[QGEMM_NR] = { 0 };
        memcpy(scale, p->mid_scale + j, columns * sizeof *scale);
        for (size_t i = 0; i < rows; i++) {
            int32_t *sum = r->sum + i * width + j;
            if (columns < QGEMM_NR)
                memset(sum + columns, 0, (QGEMM_NR - columns) * sizeof *sum);
            PCX_UNROLL for (int x = 0; x < 4; x++) {
                const float32x4_t v = vmulq_f32(vcvtq_f32_s32(vld1q_s32(sum + 4 * x)), vld1q_f32(scale + 4 * x));
                const float32x4_t within = vmaxnmq_f32(vminnmq_f32(v, high), low); /* NaN: high */
                vst1_s16(r->h + i * width + j + 4 * x, vmovn_s32(vcvtnq_s32_f32(within)));
            }
        }
    }
}

/* acc of mr rows += those at lane `lane` of x times the row of v. */
#define STEP(lane)                                                                                       \
    do {                                                                                                 \
        const int16x8_t v0 = vld1q_s16(v + (lane) * QGEMM_NR), v1 = vld1q_s16(v + (lane) * QGEMM_NR + 8); \
        PCX_UNROLL for (int i = 0; i < mr; i++) {                                                        \
            acc[i][0] = vmlal_laneq_s16(acc[i][0], vget_low_s16(v0), x[i], lane);                        \
            acc[i][1] = vmlal_high_laneq_s16(acc[i][1], v0, x[i], lane);                                 \
            acc[i][2] = vmlal_laneq_s16(acc[i][2], vget_low_s16(v1), x[i], lane);                        \
            acc[i][3] = vmlal_high_laneq_s16(acc[i][3], v1, x[i], lane);                                 \
        }                                                                                                \
        PCX_OPAQUE(v); /* else GCC loads all at once, and spills */                                      \
    } while (0)

/* bias + mr rows of h, `width` apart, times a panel of r rows of v, to memory. */
PCX_INLINE void qlowrank_neon_sums(const int mr, const int16_t *h, size_t width, const int16_t *v, size_t r,
                                   const int32_t *bias, int32_t to[][QGEMM_NR])
{
    int32x4_t acc[QLOWRANK_NEON_MR][4];
    int16x8_t x[QLOWRANK_NEON_MR];
    PCX_UNROLL for (int i = 0; i < mr; i++)
        PCX_UNROLL for (int c = 0; c < 4; c++)
            acc[i][c] = vld1q_s32(bias + 4 * c);
    for (; r >= QLOWRANK_NEON_LANES; r -= QLOWRANK_NEON_LANES, h += QLOWRANK_NEON_LANES) {
        PCX_UNROLL for (int i = 0; i < mr; i++)
            x[i] = vld1q_s16(h + (size_t)i * width);
        STEP(0); STEP(1); STEP(2); STEP(3);
        STEP(4); STEP(5); STEP(6); STEP(7);
        v += QLOWRANK_NEON_LANES * QGEMM_NR;
    }
    for (; r; r--, h++, v += QGEMM_NR) {
        PCX_UNROLL for (int i = 0; i < mr; i++)
            x[i] = vdupq_n_s16(h[(size_t)i * width]);
        STEP(0);
    }
    PCX_UNROLL for (int i = 0; i < mr; i++)
        PCX_UNROLL for (int c = 0; c < 4; c++)
            vst1q_s32(to[i] + 4 * c, acc[i][c]);
}
#undef STEP

static PCX_NOINLINE void qlowrank_neon_rows_4(const int16_t *h, size_t width, const int16_t *v, size_t r,
                                              const int32_t *bias, int32_t to[][QGEMM_NR])
{
    qlowrank_neon_sums(4, h, width, v, r, bias, to);
}

static PCX_NOINLINE void qlowrank_neon_rows_1(const int16_t *h, size_t width, const int16_t *v, size_t r,
                                              const int32_t *bias, int32_t to[][QGEMM_NR])
{
    qlowrank_neon_sums(1, h, width, v, r, bias, to);
}

static void qlowrank_neon_second(const pcx_qlowrank_args *p, const qepilogue *tail, const qlowrank_workspace *r,
                                 size_t i, size_t rows, size_t panel, size_t count)
{
    (void)count; /* one */
    const size_t j = panel * QGEMM_NR, some = min_size(QGEMM_NR, p->n - j);
    const size_t steps = ceil_div(p->r, 2), width = qlowrank_width(p), ldo = p->ldo * tail->bytes;
    const qepilogue_neon_columns end = qepilogue_neon_columns_make(tail, j, some);
    const int8_t *v = p->v + panel * steps * QLOWRANK_STEP;
    uint8_t *out = (uint8_t *)p->out + i * ldo + j * tail->bytes;
    int32_t bias[QGEMM_NR] = { 0 }, sum[QLOWRANK_NEON_MR][QGEMM_NR];
    if (p->tail.bias)
        memcpy(bias, p->tail.bias + j, some * sizeof *bias);
    for (size_t s = 0; s < steps; s++) {
        const int8x16x2_t two = vld2q_s8(v + s * QLOWRANK_STEP);
        PCX_UNROLL for (int x = 0; x < 2; x++) {
            vst1q_s16(r->wide + (2 * s + (size_t)x) * QGEMM_NR, vmovl_s8(vget_low_s8(two.val[x])));
            vst1q_s16(r->wide + (2 * s + (size_t)x) * QGEMM_NR + 8, vmovl_high_s8(two.val[x]));
        }
    }
    for (size_t x = 0, mr; x < rows; x += mr) {
        mr = x + QLOWRANK_NEON_MR <= rows ? QLOWRANK_NEON_MR : 1;
        (mr > 1 ? qlowrank_neon_rows_4 : qlowrank_neon_rows_1)(r->h + x * width, width, r->wide, p->r, bias, sum);
        qepilogue_neon_rows(&end, i + x, mr, sum, out + x * ldo, ldo);
    }
}

PCX_HIDDEN extern const qgemm_micro qgemm_micro_neon, qgemm_micro_dotprod, qgemm_micro_i8mm;
PCX_HIDDEN extern const qlowrank_micro qlowrank_micro_neon, qlowrank_micro_dotprod, qlowrank_micro_i8mm;
const qlowrank_micro qlowrank_micro_neon = { &qgemm_micro_neon, 1, qlowrank_neon_halve, qlowrank_neon_second };
const qlowrank_micro qlowrank_micro_dotprod = { &qgemm_micro_dotprod, 1, qlowrank_neon_halve, qlowrank_neon_second };
const qlowrank_micro qlowrank_micro_i8mm = { &qgemm_micro_i8mm, 1, qlowrank_neon_halve, qlowrank_neon_second };
#endif
