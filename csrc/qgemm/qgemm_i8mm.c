/*
 * qgemm_i8mm.c - tiles of 6 rows x 16 columns with usmmla: the 2 x 2 products of two rows of eight u8 with two columns of
 * eight i8, added to int32.  A register of the packed weights holds four k of four columns; two steps zipped give eight k
 * of two: `prepare` zips the weights of qgemm, the loop those of others.  24 sums, three pairs of rows and four of weights fill 31 registers.
 *
 * Sums are int32, exact for k <= 65536 as 255 * 128 * 65536 < 2^31; with zero points and bias they are modulo 2^32.
 */
#include "qgemm.h"
#include "qgemm_tile_neon.h"

#if PCX_ARM64
PCX_TARGET(PCX_TARGET_I8MM)

/* How the weights of two steps stand: zipped, one after the other, or those of one alone. */
enum { ZIPPED, APART, ALONE };

/* acc, of mr row pairs and eight column pairs, += two steps: eight k of each row at x, weights of both steps at w. */
PCX_INLINE void qgemm_i8mm_steps(const int pairs, const int form, const uint8x16_t x[3], const int8_t *w, int32x4_t acc[][8])
{
    PCX_UNROLL for (int v = 0; v < 4; v++) {
        int8x16_t b0, b1;
        PCX_OPAQUE(w); /* else GCC loads all at once, and spills */
        if (form == ZIPPED) {
            b0 = vld1q_s8(w + 32 * v);
            b1 = vld1q_s8(w + 32 * v + 16);
        } else {
            const int32x4_t s0 = vreinterpretq_s32_s8(vld1q_s8(w + 16 * v));
            const int32x4_t s1 = form == APART ? vreinterpretq_s32_s8(vld1q_s8(w + QGEMM_STEP + 16 * v)) : vdupq_n_s32(0);
            b0 = vreinterpretq_s8_s32(vzip1q_s32(s0, s1));
            b1 = vreinterpretq_s8_s32(vzip2q_s32(s0, s1));
        }
        PCX_UNROLL for (int r = 0; r < pairs; r++) {
            PCX_USMMLA(acc[r][2 * v], x[r], b0);
            PCX_USMMLA(acc[r][2 * v + 1], x[r], b1);
        }
    }
}

/* acc += `left` steps side by side, of rows from a on, less a last one alone; returns the weights after them. */
PCX_INLINE const int8_t *qgemm_i8mm_pairs(const int pairs, const int form, const uint8_t *a[6], size_t left, const int8_t *w,
                                          int32x4_t acc[][8])
{
    uint8x16_t x[3];
    for (; left >= 2; left -= 2, w += 2 * QGEMM_STEP) {
        PCX_UNROLL for (int r = 0; r < pairs; r++) {
            x[r] = vcombine_u8(vld1_u8(a[2 * r]), vld1_u8(a[2 * r + 1]));
            a[2 * r] += 8;
            a[2 * r + 1] += 8;
        }
        qgemm_i8mm_steps(pairs, form, x, w, acc);
    }
    return w;
}

/* Sums of mr rows, an even number. */
PCX_INLINE void qgemm_i8mm_sums(const int mr, const qgemm_neon_tile *t, int32x4_t sum[][4])
{
    const int pairs = mr / 2;
    const ptrdiff_t *const offset = t->offset;
    const size_t steps = t->steps, together = t->together;
    const int8_t *w = t->w;
    int32x4_t acc[3][8]; /* row pair x column pair: the first row's two, the second's */
    uint8x16_t x[3];
    PCX_UNROLL for (int r = 0; r < pairs; r++)
        PCX_UNROLL for (int v = 0; v < 4; v++) {
            const int64x2_t first = vreinterpretq_s64_s32(vld1q_s32(t->start[2 * r] + 4 * v));
            const int64x2_t second = vreinterpretq_s64_s32(vld1q_s32(t->start[2 * r + 1] + 4 * v));
            acc[r][2 * v] = vreinterpretq_s32_s64(vzip1q_s64(first, second));
            acc[r][2 * v + 1] = vreinterpretq_s32_s64(vzip2q_s64(first, second));
        }
    for (size_t s = 0; s < steps; s += together) {
        const ptrdiff_t at = offset ? offset[s] : 0;
        const uint8_t *a[6];
        PCX_UNROLL for (int r = 0; r < mr; r++)
            a[r] = t->row[r] + at;
        w = t->zipped ? qgemm_i8mm_pairs(pairs, ZIPPED, a, together, w, acc) : qgemm_i8mm_pairs(pairs, APART, a, together, w, acc);
        if (together % 2) {
            PCX_UNROLL for (int r = 0; r < pairs; r++) {
                uint32_t four[2];
                memcpy(four, a[2 * r], 4);
                memcpy(four + 1, a[2 * r + 1], 4);
                const uint64x2_t both = { four[0], four[1] };
                x[r] = vreinterpretq_u8_u64(both);
            }
            if (t->zipped) /* with zeros: the last step of all */
                qgemm_i8mm_steps(pairs, ZIPPED, x, w, acc);
            else
                qgemm_i8mm_steps(pairs, ALONE, x, w, acc);
            w += QGEMM_STEP;
        }
    }
    PCX_UNROLL for (int r = 0; r < pairs; r++)
        PCX_UNROLL for (int v = 0; v < 4; v++) {
            const int64x2_t first = vreinterpretq_s64_s32(acc[r][2 * v]), second = vreinterpretq_s64_s32(acc[r][2 * v + 1]);
            sum[2 * r][v] = vreinterpretq_s32_s64(vzip1q_s64(first, second));
            sum[2 * r + 1][v] = vreinterpretq_s32_s64(vzip2q_s64(first, second));
        }
}

QGEMM_NEON_PRODUCT(i8mm, 6, 2, 0, 1)

PCX_TARGET_END

size_t qgemm_i8mm_prepared(const void *args)
{
    const pcx_qgemm_args *p = args;
    return ceil_div(p->n, QGEMM_NR) * qgemm_neon_zipped(ceil_div(p->k, 4));
}

/* Of each pair of steps, columns side by side: eight k of each. */
void qgemm_i8mm_prepare(const void *args, void *prepared)
{
    const pcx_qgemm_args *p = args;
    const size_t steps = ceil_div(p->k, 4), panels = ceil_div(p->n, QGEMM_NR);
    int8_t *to = prepared;
    for (size_t panel = 0; panel < panels; panel++)
        for (size_t s = 0; s < steps; s += 2, to += 2 * QGEMM_STEP) {
            const int8_t *w = p->w + (panel * steps + s) * QGEMM_STEP;
            for (size_t x = 0; x < QGEMM_NR; x++) {
                memcpy(to + 8 * x, w + 4 * x, 4);
                if (s + 1 < steps)
                    memcpy(to + 8 * x + 4, w + QGEMM_STEP + 4 * x, 4);
                else
                    memset(to + 8 * x + 4, 0, 4);
            }
        }
}
#endif
