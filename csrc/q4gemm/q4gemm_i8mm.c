/*
 * q4gemm_i8mm.c - 4-bit weights with usmmla, for many rows: tiles of 6 x 16, the 2 x 2 products of two rows of eight u8 with two
 * columns of eight i8.  `unpack` zips the codes less their zero points, which are i8 in [-15, 15], for all rows of a block; rows
 * serve as they are, and sums start 128 times the group's codes lower.  24 sums, three pairs of rows and a few of weights
 * fill the registers; sums of groups, float32, lie in memory.  Few rows are dotprod's: half of each product would be for nothing.
 *
 * Sums of a group are int32 and exact, as 255 * 15 * 65536 < 2^31; groups are added in order, as the reference does.
 */
#include "q4gemm_codes_neon.h"

#if PCX_ARM64
PCX_TARGET(PCX_TARGET_I8MM)

enum { PAIR = 128 /* bytes of two unpacked steps */ };

PCX_HIDDEN extern const q4gemm_micro q4gemm_micro_dotprod, q4gemm_micro_i8mm;

/* Two steps of a panel, eight k of each column side by side; `sum` less 128 times them. */
PCX_INLINE void q4gemm_i8mm_zip(const int8x16_t first[4], const int8x16_t second[4], int8_t *to, int32x4_t sum[4])
{
    const int8x16_t minus = vdupq_n_s8(-128);
    PCX_UNROLL for (int v = 0; v < 4; v++, to += 32) {
        const int32x4_t s0 = vreinterpretq_s32_s8(first[v]), s1 = vreinterpretq_s32_s8(second[v]);
        vst1q_s8(to, vreinterpretq_s8_s32(vzip1q_s32(s0, s1)));
        vst1q_s8(to + 16, vreinterpretq_s8_s32(vzip2q_s32(s0, s1)));
        PCX_SDOT(sum[v], first[v], minus);
        PCX_SDOT(sum[v], second[v], minus);
    }
}

static void q4gemm_i8mm_unpack(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t panel, size_t count)
{
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    const uint8_t *from = p->w + panel * steps * Q4_STEP;
    int8_t *to = m->w;
    int32_t *start = m->start;
    (void)count; /* one */
    for (size_t g = 0, s = 0; g < groups; g++, start += Q4_NR) {
        const size_t end = q4gemm_group_end(p, g, groups, steps);
        int8x16_t zero[4], first[4], second[4];
        int32x4_t sum[4];
        PCX_UNROLL for (int v = 0; v < 4; v++)
            sum[v] = vdupq_n_s32(0);
        q4gemm_codes_neon_zeros(p, (panel * groups + g) * Q4_NR, zero);
        for (; s < end; s += 2, from += 2 * Q4_STEP, to += PAIR) {
            q4gemm_codes_neon_codes(from, zero, first);
            if (s + 1 < end) {
                q4gemm_codes_neon_codes(from + Q4_STEP, zero, second);
            } else { /* the last step of all */
                PCX_UNROLL for (int v = 0; v < 4; v++)
                    second[v] = vdupq_n_s8(0);
            }
            q4gemm_i8mm_zip(first, second, to, sum);
        }
        PCX_UNROLL for (int v = 0; v < 4; v++)
            vst1q_s32(start + 4 * v, sum[v]);
    }
    for (size_t at = 0; at < groups * Q4_NR; at += 4)
        vst1q_f32(m->scale + at, q4gemm_codes_neon_scale(p, panel * groups * Q4_NR + at));
}

/* Sums of row pairs += two steps: eight k of each row at x, weights at w. */
PCX_INLINE void q4gemm_i8mm_steps(const int pairs, const uint8x16_t x[3], const int8_t *w, int32x4_t acc[][8])
{
    PCX_UNROLL for (int v = 0; v < 8; v += 2) {
        PCX_OPAQUE(w); /* else GCC loads all at once, and spills */
        const int8x16_t b0 = vld1q_s8(w + 16 * v), b1 = vld1q_s8(w + 16 * v + 16);
        PCX_UNROLL for (int r = 0; r < pairs; r++) {
            PCX_USMMLA(acc[r][v], x[r], b0);
            PCX_USMMLA(acc[r][v + 1], x[r], b1);
        }
    }
}

/* A group's sums times its scales to `total`: [row pair][column pair][2][2]. */
PCX_INLINE void q4gemm_i8mm_add(const int pairs, const int32x4_t acc[][8], const float *scale, float *total)
{
    PCX_UNROLL for (int v = 0; v < 8; v++) {
        const float32x4_t by = vreinterpretq_f32_f64(vld1q_dup_f64((const double *)(const void *)(scale + 2 * v)));
        PCX_UNROLL for (int r = 0; r < pairs; r++) {
            float *const to = total + 4 * (8 * r + v);
            vst1q_f32(to, vaddq_f32(vld1q_f32(to), vmulq_f32(by, vcvtq_f32_s32(acc[r][v]))));
        }
    }
}

/* mr rows, an even number, times the unpacked panel. */
PCX_INLINE void q4gemm_i8mm_tile(const int mr, const pcx_q4gemm_args *p, const q4gemm_workspace *m,
                                 const uint8_t *const *rows, q4gemm_sums v)
{
    const int pairs = mr / 2;
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    const int8_t *w = m->w;
    const int32_t *start = m->start;
    const uint8_t *row[Q4_MR];
    float total[3 * 8 * 4] = { 0 };
    uint8x16_t x[3];
    PCX_UNROLL for (int r = 0; r < mr; r++)
        row[r] = rows[r];
    for (size_t g = 0, s = 0; g < groups; g++, start += Q4_NR) {
        const size_t end = q4gemm_group_end(p, g, groups, steps);
        int32x4_t acc[3][8]; /* row pair x column pair: the first row's two, the second's */
        PCX_UNROLL for (int c = 0; c < 8; c++) {
            acc[0][c] = vreinterpretq_s32_s64(vld1q_dup_s64((const int64_t *)(const void *)(start + 2 * c)));
            PCX_UNROLL for (int r = 1; r < pairs; r++)
                acc[r][c] = acc[0][c];
        }
        for (; s + 2 <= end; s += 2, w += PAIR) {
            PCX_UNROLL for (int r = 0; r < pairs; r++) {
                x[r] = vcombine_u8(vld1_u8(row[2 * r]), vld1_u8(row[2 * r + 1]));
                row[2 * r] += 8;
                row[2 * r + 1] += 8;
            }
            q4gemm_i8mm_steps(pairs, x, w, acc);
        }
        if (s < end) {
            PCX_UNROLL for (int r = 0; r < pairs; r++) {
                uint32_t four[2];
                memcpy(four, row[2 * r], 4);
                memcpy(four + 1, row[2 * r + 1], 4);
                const uint64x2_t both = { four[0], four[1] };
                x[r] = vreinterpretq_u8_u64(both);
            }
            q4gemm_i8mm_steps(pairs, x, w, acc);
            s = end;
        }
        q4gemm_i8mm_add(pairs, (const int32x4_t(*)[8])acc, m->scale + g * Q4_NR, total);
    }
    PCX_UNROLL for (int r = 0; r < pairs; r++)
        PCX_UNROLL for (int c = 0; c < 4; c++) {
            const float *from = total + 4 * (8 * r + 2 * c);
            const float64x2_t low = vreinterpretq_f64_f32(vld1q_f32(from)), high = vreinterpretq_f64_f32(vld1q_f32(from + 4));
            vst1q_f32(v[2 * r] + 4 * c, vreinterpretq_f32_f64(vzip1q_f64(low, high)));
            vst1q_f32(v[2 * r + 1] + 4 * c, vreinterpretq_f32_f64(vzip2q_f64(low, high)));
        }
}

#define TILE(mr) \
    static PCX_NOINLINE void q4gemm_i8mm_tile_##mr(const pcx_q4gemm_args *p, const q4gemm_workspace *m, \
                                                   const uint8_t *const *rows, q4gemm_sums v) \
    { \
        q4gemm_i8mm_tile(mr, p, m, rows, v); \
    }
TILE(2) TILE(4) TILE(6)
#undef TILE

/* Beyond `rows` rows stand copies of the last one, and room for their sums. */
static void q4gemm_i8mm_run_many(const pcx_q4gemm_args *p, const q4gemm_workspace *m, const uint8_t *const *row, size_t rows,
                                 size_t count, q4gemm_sums v)
{
    static void (*const all[])(const pcx_q4gemm_args *, const q4gemm_workspace *, const uint8_t *const *, q4gemm_sums) = {
        q4gemm_i8mm_tile_2, q4gemm_i8mm_tile_4, q4gemm_i8mm_tile_6
    };
    (void)count; /* one */
    all[(rows - 1) / 2](p, m, row, v);
}

static void q4gemm_i8mm_run_few(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t rows, size_t panel, size_t count,
                                q4gemm_sums v)
{
    q4gemm_micro_dotprod.run_few(p, m, rows, panel, count, v);
}

static void q4gemm_i8mm_sign(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t r)
{
    q4gemm_micro_dotprod.sign(p, m, r);
}

static void q4gemm_i8mm_finish(const pcx_q4gemm_args *p, const qepilogue *tail, size_t panel, size_t i, size_t rows,
                               q4gemm_sums v)
{
    q4gemm_micro_dotprod.finish(p, tail, panel, i, rows, v);
}

const q4gemm_micro q4gemm_micro_i8mm = {
    .few = 1, .many = 1, .by_group = 1, .sign = q4gemm_i8mm_sign, .run_few = q4gemm_i8mm_run_few,
    .unpack = q4gemm_i8mm_unpack, .run_many = q4gemm_i8mm_run_many, .finish = q4gemm_i8mm_finish,
};

PCX_TARGET_END
#endif
