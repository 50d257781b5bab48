/*
 * bgemm_bf16.c - bfmmla: the 2 x 2 sums of two rows of four bfloat16 with two columns of four.  A register of the packed
 * weights holds a pair of k of four columns; two steps zipped give four k of two.  That is done once for all rows of a block,
 * into scratch.  Tiles of 6 rows x 16 columns: 24 sums, three pairs of rows and four of weights fill 31 registers.  Few rows
 * meet the weights as they are, by bfdot.
 *
 * Sums are float32.  Products of two bfloat16 are exact; both instructions add up a pair of them, and then add that to the
 * sum, each time rounding to odd, by at most 2^-23, and taking subnormal numbers for zero, whatever the float mode.  For
 * k <= 4096 that is k / 2 + 1 roundings of a product, and one each of bias and residual: at most (k + 4) 2^-24 times the sum of
 * |a w|, within bgemm's bound; longer sums are made of parts.  The order is the same in every tile, and so are the bytes.
 */
#include "bgemm.h"

#include "../sgemm/sgemm_tile_neon.h"

#if PCX_ARM64

enum {
    BGEMM_BF16_FEW = 3,                                       /* rows, at most, that weights are not zipped for */
    BGEMM_BF16_VECTORS = SGEMM_NR / SGEMM_NEON_LANES,         /* of a panel's sums, and of a step's weights */
    BGEMM_BF16_STEP = BGEMM_PAIRS * sizeof(uint16_t),         /* bytes */
};

static void bgemm_bf16_finish(const bgemm_rows *r, size_t first, size_t count, const bgemm_target *to, size_t column,
                              float *sum, size_t width)
{
    sgemm_rows at;
    bgemm_rows_at(r, first, count, &at);
    sgemm_neon_finish_slowly(&at, 0, &(sgemm_target){ NULL, 0, to->n, to->tail }, column, sum, count, width);
}

/* Of each two steps, four k of each column side by side; of a last one alone, zeros as the others. */
static void bgemm_bf16_zip(const uint16_t *w, size_t steps, uint16_t *to)
{
    for (; steps; steps -= min_size(steps, 2), w += 2 * BGEMM_PAIRS)
        for (size_t v = 0; v < BGEMM_PAIRS; v += 8, to += 16) {
            const uint32x4_t s0 = vreinterpretq_u32_u16(vld1q_u16(w + v));
            const uint32x4_t s1 = steps > 1 ? vreinterpretq_u32_u16(vld1q_u16(w + BGEMM_PAIRS + v)) : vdupq_n_u32(0);
            vst1q_u16(to, vreinterpretq_u16_u32(vzip1q_u32(s0, s1)));
            vst1q_u16(to + 8, vreinterpretq_u16_u32(vzip2q_u32(s0, s1)));
        }
}

PCX_TARGET(PCX_TARGET_ARMBF16)

/* By values: what is stored might be a part of `source`, as far as a compiler knows. */
static void bgemm_bf16_round(const bgemm_source *source, char *to, size_t lda)
{
    const bgemm_source s = *source;
    const size_t whole = s.count / 8 * 8, rest = s.count - whole;
    for (size_t i = 0; i < s.windows; i++, to += lda) {
        const float *x = s.from + i * s.window_step;
        uint16_t *out = (uint16_t *)(void *)to;
        for (size_t line = 0; line < s.lines; line++, x += s.line_step, out += s.count) {
            uint16x8_t y;
            for (size_t q = 0; q < whole; q += 8) {
                PCX_BF16_EIGHT(y, vld1q_f32(x + q), vld1q_f32(x + q + 4));
                vst1q_u16(out + q, y);
            }
            if (rest) {
                float last[8] = { 0 };
                uint16_t narrow[8];
                memcpy(last, x + whole, rest * sizeof *last);
                PCX_BF16_EIGHT(y, vld1q_f32(last), vld1q_f32(last + 4));
                vst1q_u16(narrow, y);
                memcpy(out + whole, narrow, rest * sizeof *narrow);
            }
        }
    }
}

/* ---- a zipped panel ---- */

/* acc, of row pairs and eight column pairs, += two steps: four k of each row at x, weights of both steps at w. */
PCX_INLINE void bgemm_bf16_steps(const int pairs, const uint16x8_t x[3], const uint16_t *w, float32x4_t acc[][8])
{
    PCX_UNROLL for (int v = 0; v < 8; v += 2) {
        PCX_OPAQUE(w); /* else GCC loads all at once, and spills */
        const uint16x8_t b0 = vld1q_u16(w + 8 * v), b1 = vld1q_u16(w + 8 * v + 8);
        PCX_UNROLL for (int r = 0; r < pairs; r++) {
            PCX_BFMMLA(acc[r][v], x[r], b0);
            PCX_BFMMLA(acc[r][v + 1], x[r], b1);
        }
    }
}

/* mr rows, an even number: the last one may be the one behind the block. */
PCX_INLINE void bgemm_bf16_tile(const int mr, const bgemm_rows *rows, size_t first, const uint16_t *w, size_t from,
                                size_t steps, const float *start, float *sum)
{
    const int pairs = mr / 2;
    const char *a[6];
    float32x4_t acc[3][8]; /* row pair x column pair: the first row's two, the second's */
    uint16x8_t x[3];
    PCX_UNROLL for (int r = 0; r < mr; r++)
        a[r] = rows->a + (first + (size_t)r) * rows->lda + from * 2 * sizeof(uint16_t);
    PCX_UNROLL for (int v = 0; v < BGEMM_BF16_VECTORS; v++) {
        const float64x2_t both = vreinterpretq_f64_f32(vld1q_f32(start + SGEMM_NEON_LANES * v));
        PCX_UNROLL for (int r = 0; r < pairs; r++) {
            acc[r][2 * v] = vreinterpretq_f32_f64(vzip1q_f64(both, both));
            acc[r][2 * v + 1] = vreinterpretq_f32_f64(vzip2q_f64(both, both));
        }
    }
    w += from * BGEMM_PAIRS;
    for (; steps >= 2; steps -= 2, w += 2 * BGEMM_PAIRS) {
        PCX_UNROLL for (int r = 0; r < pairs; r++) {
            x[r] = vcombine_u16(vld1_u16((const uint16_t *)(const void *)a[2 * r]),
                                vld1_u16((const uint16_t *)(const void *)a[2 * r + 1]));
            a[2 * r] += 4 * sizeof(uint16_t);
            a[2 * r + 1] += 4 * sizeof(uint16_t);
        }
        bgemm_bf16_steps(pairs, x, w, acc);
    }
    if (steps) { /* behind it stands nonsense */
        PCX_UNROLL for (int r = 0; r < pairs; r++) {
            uint32_t pair[2];
            memcpy(pair, a[2 * r], 4);
            memcpy(pair + 1, a[2 * r + 1], 4);
            const uint64x2_t both = { pair[0], pair[1] };
            x[r] = vreinterpretq_u16_u64(both);
        }
        bgemm_bf16_steps(pairs, x, w, acc);
    }
    PCX_UNROLL for (int r = 0; r < pairs; r++)
        PCX_UNROLL for (int v = 0; v < BGEMM_BF16_VECTORS; v++) {
            const float64x2_t low = vreinterpretq_f64_f32(acc[r][2 * v]), high = vreinterpretq_f64_f32(acc[r][2 * v + 1]);
            float *to = sum + 2 * r * SGEMM_NR + SGEMM_NEON_LANES * v;
            vst1q_f32(to, vreinterpretq_f32_f64(vzip1q_f64(low, high)));
            vst1q_f32(to + SGEMM_NR, vreinterpretq_f32_f64(vzip2q_f64(low, high)));
        }
}

#define TILE(mr) \
    static PCX_NOINLINE void bgemm_bf16_tile_##mr(const bgemm_rows *r, size_t first, const uint16_t *w, size_t ldw, \
                                                  size_t from, size_t steps, const float *start, float *sum) \
    { \
        (void)ldw; /* one panel */ \
        bgemm_bf16_tile(mr, r, first, w, from, steps, start, sum); \
    }
TILE(2) TILE(4) TILE(6)
#undef TILE

/* ---- few rows ---- */

#define STEP(lane) \
    PCX_UNROLL for (int v = 0; v < nv; v++) { \
        const uint16x8_t b = vld1q_u16(w + (size_t)(v / BGEMM_BF16_VECTORS) * ldw + (lane) * BGEMM_PAIRS + \
                                       v % BGEMM_BF16_VECTORS * 8); \
        PCX_UNROLL for (int r = 0; r < mr; r++) \
            PCX_BFDOT_LANE(acc[r][v], b, x[r], lane); \
    }

/* mr rows times panels of nv vectors together, ldw apart. */
PCX_INLINE void bgemm_bf16_flat(const int mr, const int nv, const bgemm_rows *rows, size_t first, const uint16_t *w, size_t ldw,
                                size_t from, size_t steps, const float *start, float *sum)
{
    const char *a[BGEMM_BF16_FEW];
    float32x4_t acc[BGEMM_BF16_FEW][BGEMM_WIDE * BGEMM_BF16_VECTORS];
    uint16x8_t x[BGEMM_BF16_FEW];
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        a[r] = rows->a + (first + (size_t)r) * rows->lda + from * 2 * sizeof(uint16_t);
        PCX_UNROLL for (int v = 0; v < nv; v++)
            acc[r][v] = vld1q_f32(start + SGEMM_NEON_LANES * v);
    }
    w += from * BGEMM_PAIRS;
    for (; steps >= 4; steps -= 4, w += 4 * BGEMM_PAIRS) {
        PCX_UNROLL for (int r = 0; r < mr; r++, a[r - 1] += 8 * sizeof(uint16_t))
            x[r] = vld1q_u16((const uint16_t *)(const void *)a[r]);
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
    }
    for (; steps; steps--, w += BGEMM_PAIRS) {
        PCX_UNROLL for (int r = 0; r < mr; r++, a[r - 1] += 2 * sizeof(uint16_t)) {
            uint32_t pair;
            memcpy(&pair, a[r], sizeof pair);
            x[r] = vreinterpretq_u16_u32(vdupq_n_u32(pair));
        }
        STEP(0)
    }
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int v = 0; v < nv; v++)
            vst1q_f32(sum + (r * nv + v) * SGEMM_NEON_LANES, acc[r][v]);
}
#undef STEP

#define FLAT(mr, np) \
    static PCX_NOINLINE void bgemm_bf16_flat_##mr##x##np(const bgemm_rows *r, size_t first, const uint16_t *w, size_t ldw, \
                                                         size_t from, size_t steps, const float *start, float *sum) \
    { \
        bgemm_bf16_flat(mr, np * BGEMM_BF16_VECTORS, r, first, w, ldw, from, steps, start, sum); \
    }
FLAT(1, 1) FLAT(2, 1) FLAT(3, 1) FLAT(2, 2) FLAT(3, 2) FLAT(1, 4)
#undef FLAT

/* Sums enough for the latency. */
static size_t bgemm_bf16_wide(size_t count, size_t panels)
{
    return count == 1 && panels >= 4 ? 4 : count > 1 && panels >= 2 ? 2 : 1;
}

static size_t bgemm_bf16_one(size_t count, size_t panels) { return (void)count, (void)panels, 1; }

static void bgemm_bf16_run(const bgemm_rows *r, const bgemm_target *to, size_t begin, size_t end)
{
    static bgemm_tile *const one[] = { NULL, bgemm_bf16_flat_1x1, bgemm_bf16_flat_2x1, bgemm_bf16_flat_3x1 };
    static bgemm_tile *const two[] = { NULL, NULL, bgemm_bf16_flat_2x2, bgemm_bf16_flat_3x2 };
    static bgemm_tile *const four[] = { NULL, bgemm_bf16_flat_1x4 };
    static bgemm_tile *const zipped[] = { NULL, bgemm_bf16_tile_2, bgemm_bf16_tile_2, bgemm_bf16_tile_4,
                                          bgemm_bf16_tile_4, bgemm_bf16_tile_6, bgemm_bf16_tile_6 };
    static const bgemm_shapes flat = { bgemm_bf16_wide, { 0, 3, 3, 0, 1 }, { NULL, one, two, NULL, four }, bgemm_bf16_finish };
    static const bgemm_shapes tall = { bgemm_bf16_one, { 0, SGEMM_TALL }, { NULL, zipped }, bgemm_bf16_finish };
    if (r->count <= BGEMM_BF16_FEW) {
        bgemm_tiles(r, to, begin, end, &flat);
        return;
    }
    const bgemm_target made = { r->panel, 0, to->n, to->tail };
    for (size_t panel = begin; panel < end; panel++) {
        bgemm_bf16_zip(to->w + panel * to->ldw, r->steps, r->panel);
        bgemm_tiles(r, &made, panel, panel + 1, &tall);
    }
}

PCX_HIDDEN extern const bgemm_micro bgemm_micro_bf16;
const bgemm_micro bgemm_micro_bf16 = { SGEMM_TALL, sizeof(uint16_t), bgemm_bf16_round, bgemm_bf16_run, BGEMM_BF16_STEP };

PCX_TARGET_END
#endif
