/*
 * qgemm_dotprod.c - tiles of 4 rows x 16 columns with sdot: four products of i8 added to an int32, the four activations
 * from a lane of a register that holds 16 of a row.  u8 less 128 is i8, so sums start 128 colsum higher.  16 sums, four
 * rows and four of weights fill 24 registers.
 *
 * Sums are int32, exact for k <= 65536 as 128 * 128 * 65536 < 2^31; with zero points and bias they are modulo 2^32.
 */
#include "qgemm.h"
#include "qgemm_tile_neon.h"

#if PCX_ARM64
PCX_TARGET(PCX_TARGET_DOTPROD)

/* sum += the products of step `lane` of the rows x with the weights at w. */
#define STEP(lane)                                                          \
    do {                                                                    \
        int8x16_t b[4];                                                     \
        PCX_OPAQUE(w); /* else GCC loads all at once, and spills */         \
        PCX_UNROLL for (int v = 0; v < 4; v++)                              \
            b[v] = vld1q_s8(w + (lane) * QGEMM_STEP + 16 * v);              \
        PCX_UNROLL for (int r = 0; r < mr; r++)                             \
            PCX_UNROLL for (int v = 0; v < 4; v++)                          \
                PCX_SDOT_LANE(sum[r][v], b[v], x[r], lane);                 \
    } while (0)

/* Sums of mr rows. */
PCX_INLINE void qgemm_dotprod_sums(const int mr, const qgemm_neon_tile *t, int32x4_t sum[][4])
{
    const uint8x16_t flip = vdupq_n_u8(128);
    const ptrdiff_t *const offset = t->offset;
    const size_t steps = t->steps, together = t->together;
    const int8_t *w = t->w;
    int8x16_t x[4];
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int v = 0; v < 4; v++)
            sum[r][v] = vld1q_s32(t->start[r] + 4 * v);
    for (size_t s = 0; s < steps; s += together) {
        const ptrdiff_t at = offset ? offset[s] : 0;
        const uint8_t *a[4];
        PCX_UNROLL for (int r = 0; r < mr; r++)
            a[r] = t->row[r] + at;
        size_t left = together;
        for (; left >= 4; left -= 4, w += 4 * QGEMM_STEP) {
            PCX_UNROLL for (int r = 0; r < mr; r++) {
                x[r] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a[r]), flip));
                a[r] += 16;
            }
            STEP(0);
            STEP(1);
            STEP(2);
            STEP(3);
        }
        for (; left; left--, w += QGEMM_STEP) {
            PCX_UNROLL for (int r = 0; r < mr; r++) {
                uint32_t four;
                memcpy(&four, a[r], sizeof four);
                a[r] += 4;
                x[r] = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), flip));
            }
            STEP(0);
        }
    }
}
#undef STEP

QGEMM_NEON_PRODUCT(dotprod, 4, 1, 1, 0)

PCX_TARGET_END
#endif
