/*
 * qdwconv_neon.c - lines of a depthwise convolution on NEON, 16 channels and four pixels at a time: qdwconv_neon.h.  Each
 * column of the rows is loaded once for all windows that it is part of; what lies beyond an image is gathered first.
 * 16 sums of int32, eight of int16, a row's weights and a column fill 28 registers where kw is 3.
 */
#include "../common/qepilogue_neon.h"
#include "qdwconv.h"
#include "qdwconv_neon.h"

#if PCX_ARM64

enum { QDW_PIXELS = 4, QDW_SIZE_MAX = 5, QDW_COLUMNS_MAX = (QDW_PIXELS - 1) * 2 + QDW_SIZE_MAX };

/* Everything about 16 channels of a layer. */
typedef struct {
    qepilogue_neon_columns tail; /* of the channels that are there */
    int32_t base[QDW_SIXTEEN];   /* where sums start */
    const qdwconv_sixteen *of;
    const void *w;
} qdwconv_neon_group;

/* Four pixels' windows: rows of columns, `step` bytes apart. */
typedef struct {
    const uint8_t *row[QDW_SIZE_MAX];
    size_t step;
} qdwconv_neon_window;

/* ---- preparing ---- */

static int qdwconv_neon_fits(size_t kh, size_t kw, const int8_t *w, size_t depth)
{
    const size_t taps = kh * kw, part = depth == QDW_ALL ? taps : qdwconv_sixteen_part(kw, depth);
    for (size_t c = 0; c < QDW_SIXTEEN; c++) {
        int size = 0;
        for (size_t t = 0; t < taps; t++) {
            const int weight = w[t * QDW_SIXTEEN + c];
            size = (depth == QDW_ALL ? t : t % kw % part) == 0 ? 0 : size;
            size += weight < 0 ? -weight : weight;
            if (size > QDW_BOUND)
                return 0;
        }
    }
    return 1;
}

size_t qdwconv_neon_prepared(size_t kh, size_t kw, size_t c)
{
    return qdwconv_sixteens(c) * qdwconv_sixteen_bytes(kh * kw);
}

void qdwconv_neon_prepare(size_t kh, size_t kw, size_t c, const int8_t *w, const int32_t *wzp, void *made)
{
    const size_t taps = kh * kw;
    char *space = made;
    for (size_t s = 0; s < qdwconv_sixteens(c); s++, space += qdwconv_sixteen_bytes(taps)) {
        const size_t first = qdwconv_sixteen_at(s, c), count = min_size(QDW_SIXTEEN, c);
        qdwconv_sixteen *of = (qdwconv_sixteen *)space;
        int8_t *narrow = (int8_t *)(of + 1);
        int16_t *wide = (int16_t *)(of + 1);
        memset(of, 0, qdwconv_sixteen_bytes(taps));
        for (size_t t = 0; t < taps; t++)
            memcpy(narrow + t * QDW_SIXTEEN, w + t * c + first, count);
        of->depth = !wzp && kh == kw && (kh == 3 || kh == 5) ? QDW_ALL : QDW_WIDE;
        while (of->depth != QDW_WIDE && !qdwconv_neon_fits(kh, kw, narrow, of->depth))
            of->depth--;
        for (size_t t = 0; of->depth == QDW_WIDE && t < taps; t++)
            for (size_t x = 0; x < QDW_SIXTEEN; x++) {
                const int32_t zero = wzp && x < count ? wzp[first + x] : 0;
                wide[t * QDW_SIXTEEN + x] = (int16_t)((x < count ? w[t * c + first + x] : 0) - zero);
            }
    }
}

/* ---- what does not depend on pixels ---- */

static size_t qdwconv_neon_buffer(size_t kh, size_t kw)
{
    return round_up(max_size(kh * kw, QDW_SIZE_MAX * QDW_COLUMNS_MAX) * QDW_SIXTEEN, 64);
}

static size_t qdwconv_neon_scratch(size_t kh, size_t kw, size_t c)
{
    return qdwconv_neon_buffer(kh, kw) + round_up(qdwconv_sixteens(c) * sizeof(qdwconv_neon_group), 64);
}

static qdwconv_neon_group *qdwconv_neon_groups(const qdwconv_layer *l)
{
    return (qdwconv_neon_group *)((char *)l->scratch + qdwconv_neon_buffer(l->kh, l->kw));
}

/* acc = sum a w - xzp (colsum - taps wzp) + bias; where a is u8 less 128, 128 colsum is added again. */
static void qdwconv_neon_make(const qdwconv_layer *l)
{
    const size_t taps = l->kh * l->kw;
    const char *weights = l->weights;
    for (size_t s = 0; s < qdwconv_sixteens(l->c); s++, weights += qdwconv_sixteen_bytes(taps)) {
        qdwconv_neon_group *g = qdwconv_neon_groups(l) + s;
        const size_t first = qdwconv_sixteen_at(s, l->c), count = min_size(QDW_SIXTEEN, l->c);
        g->of = (const qdwconv_sixteen *)weights;
        g->w = g->of + 1;
        g->tail = qepilogue_neon_columns_make(l->tail, first, count);
        memset(g->base, 0, sizeof g->base);
        const uint32_t flipped = g->of->depth == QDW_WIDE ? 0 : 128;
        for (size_t x = 0; x < count; x++) {
            const uint32_t colsum = (uint32_t)l->colsum[first + x], zw = l->wzp ? (uint32_t)l->wzp[first + x] : 0;
            const uint32_t bias = l->tail->bias ? (uint32_t)l->tail->bias[first + x] : 0;
            g->base[x] = (int32_t)(bias - (uint32_t)l->xzp * (colsum - (uint32_t)taps * zw) + flipped * colsum);
        }
    }
}

/* ---- pixels ---- */

/* Sums of four pixels, all sizes constants; `part`: taps of a window in a row, or all taps. */
PCX_INLINE void qdwconv_neon_sums(const int k, const int sw, const int part, const int8_t *w, const int32_t *base,
                                  const qdwconv_neon_window *from, int32x4_t sum[QDW_PIXELS][4])
{
    const int all = part == k * k;
    const size_t step = from->step;
    const uint8x16_t flip = vdupq_n_u8(128);
    int16x8_t low[QDW_PIXELS], high[QDW_PIXELS];
    PCX_UNROLL for (int p = 0; p < QDW_PIXELS; p++)
        PCX_UNROLL for (int v = 0; v < 4; v++)
            sum[p][v] = vld1q_s32(base + 4 * v);
    PCX_UNROLL for (int ky = 0; ky < k; ky++, w += k * QDW_SIXTEEN) {
        const uint8_t *at = from->row[ky];
        int8x16_t tap[QDW_SIZE_MAX];
        PCX_OPAQUE(w); /* else GCC loads the weights of all rows at once, and spills */
        PCX_UNROLL for (int kx = 0; kx < k; kx++)
            tap[kx] = vld1q_s8(w + kx * QDW_SIXTEEN);
        PCX_UNROLL for (int column = 0; column < (QDW_PIXELS - 1) * sw + k; column++, at += step) {
            const int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(at), flip));
            PCX_UNROLL for (int p = 0; p < QDW_PIXELS; p++) {
                const int kx = column - p * sw, t = all ? ky * k + kx : kx % part;
                if (kx < 0 || kx >= k)
                    continue;
                low[p] = t ? vmlal_s8(low[p], vget_low_s8(x), vget_low_s8(tap[kx])) : vmull_s8(vget_low_s8(x), vget_low_s8(tap[kx]));
                high[p] = t ? vmlal_high_s8(high[p], x, tap[kx]) : vmull_high_s8(x, tap[kx]);
                if (all ? t < k * k - 1 : t < part - 1 && kx < k - 1)
                    continue;
                sum[p][0] = vaddw_s16(sum[p][0], vget_low_s16(low[p]));
                sum[p][1] = vaddw_high_s16(sum[p][1], low[p]);
                sum[p][2] = vaddw_s16(sum[p][2], vget_low_s16(high[p]));
                sum[p][3] = vaddw_high_s16(sum[p][3], high[p]);
            }
        }
    }
}

/* `count` of four pixels to their outputs: the first is the i-th of all. */
static void qdwconv_neon_put(const qdwconv_neon_group *g, size_t i, size_t count, int32x4_t sum[QDW_PIXELS][4],
                             uint8_t *out, size_t ldo)
{
    int32_t sums[QDW_PIXELS][QT_NR];
    if (g->tail.plain && g->tail.finite && g->tail.cols == QDW_SIXTEEN) {
        const qepilogue_neon_clamp clamp = g->tail.clamp; /* copies that no store of bytes reaches */
        const float32x4_t scale[4] = { vld1q_f32(g->tail.scale), vld1q_f32(g->tail.scale + 4), vld1q_f32(g->tail.scale + 8),
                                       vld1q_f32(g->tail.scale + 12) };
        for (size_t p = 0; p < count; p++, out += ldo) {
            float32x4_t v[4];
            PCX_UNROLL for (int x = 0; x < 4; x++)
                v[x] = vmulq_f32(vcvtq_f32_s32(sum[p][x]), scale[x]);
            vst1q_u8(out, qepilogue_neon_bytes(v, &clamp, 1));
        }
        return;
    }
    if (g->tail.plain) {
        for (size_t p = 0; p < count; p++)
            qepilogue_neon_store(out + p * ldo, qepilogue_neon_sums(&g->tail, sum[p]), g->tail.cols);
        return;
    }
    for (size_t p = 0; p < count; p++)
        for (int v = 0; v < 4; v++)
            vst1q_s32(sums[p] + 4 * v, sum[p][v]);
    qepilogue_neon_rows(&g->tail, i, count, sums, out, ldo);
}

/* Four pixels `from` on, of which `count` are wanted. */
typedef void qdwconv_neon_four(const qdwconv_neon_group *g, const qdwconv_neon_window *from, size_t i, size_t count,
                               uint8_t *out, size_t ldo);

#define FOUR(k, sw, part) \
    static PCX_NOINLINE void qdwconv_neon_##k##_##sw##_##part(const qdwconv_neon_group *g, const qdwconv_neon_window *from, \
                                                              size_t i, size_t count, uint8_t *out, size_t ldo) \
    { \
        int32x4_t sum[QDW_PIXELS][4]; \
        qdwconv_neon_sums(k, sw, part, g->w, g->base, from, sum); \
        qdwconv_neon_put(g, i, count, sum, out, ldo); \
    }
FOUR(3, 1, 9) FOUR(3, 1, 3) FOUR(3, 1, 2) FOUR(3, 2, 9) FOUR(3, 2, 3) FOUR(3, 2, 2)
FOUR(5, 1, 25) FOUR(5, 1, 5) FOUR(5, 1, 3) FOUR(5, 2, 25) FOUR(5, 2, 5) FOUR(5, 2, 3)
#undef FOUR

/* NULL: none for such a layer. */
static qdwconv_neon_four *qdwconv_neon_choose(const qdwconv_layer *l, size_t depth)
{
    static qdwconv_neon_four *const all[2][2][QDW_ALL + 1] = {
        { { NULL, qdwconv_neon_3_1_2, qdwconv_neon_3_1_3, qdwconv_neon_3_1_9 },
          { NULL, qdwconv_neon_3_2_2, qdwconv_neon_3_2_3, qdwconv_neon_3_2_9 } },
        { { NULL, qdwconv_neon_5_1_3, qdwconv_neon_5_1_5, qdwconv_neon_5_1_25 },
          { NULL, qdwconv_neon_5_2_3, qdwconv_neon_5_2_5, qdwconv_neon_5_2_25 } },
    };
    return depth == QDW_WIDE || l->dw != 1 || l->sw > 2 ? NULL : all[l->kw == 5][l->sw - 1][depth];
}

/* Column x of row ky of a line, channel j. */
static const uint8_t *qdwconv_neon_column(const qdwconv_line *line, size_t ky, size_t x, size_t j)
{
    return x >= line->low && x < line->high ? line->row[ky] + (x - line->low) * line->step + j : line->pad;
}

/* The windows of four pixels from pixel i on, gathered; columns beyond the line are padding, too. */
static void qdwconv_neon_gather(const qdwconv_layer *l, const qdwconv_line *line, size_t i, size_t j, qdwconv_neon_window *to)
{
    const size_t columns = (QDW_PIXELS - 1) * l->sw + l->kw, first = i * l->sw, step = line->step;
    const size_t begin = min_size(line->low > first ? line->low - first : 0, columns);
    const size_t end = max_size(min_size(line->high > first ? line->high - first : 0, columns), begin);
    const uint8x16_t pad = vld1q_u8(line->pad);
    uint8_t *buffer = l->scratch;
    to->step = QDW_SIXTEEN;
    for (size_t ky = 0; ky < l->kh; ky++) {
        const uint8_t *at = line->row[ky] + j + (begin < end ? first + begin - line->low : 0) * step;
        uint8_t *const inside = buffer + begin * QDW_SIXTEEN, *const outside = buffer + end * QDW_SIXTEEN;
        to->row[ky] = buffer;
        for (; buffer < inside; buffer += QDW_SIXTEEN)
            vst1q_u8(buffer, pad);
        for (; buffer < outside; buffer += QDW_SIXTEEN, at += step)
            vst1q_u8(buffer, vld1q_u8(at));
        for (; buffer < to->row[ky] + columns * QDW_SIXTEEN; buffer += QDW_SIXTEEN)
            vst1q_u8(buffer, pad);
    }
}

/* A line through `four`. */
static void qdwconv_neon_fours(const qdwconv_layer *l, const qdwconv_line *line, const qdwconv_neon_group *g,
                               qdwconv_neon_four *four)
{
    const size_t j = g->tail.j;
    uint8_t *out = line->out + j * l->tail->bytes;
    for (size_t i = 0, count; i < line->count; i += count) {
        qdwconv_neon_window from = { .step = line->step };
        const size_t first = i * l->sw, last = first + (QDW_PIXELS - 1) * l->sw + l->kw - 1;
        count = min_size(QDW_PIXELS, line->count - i);
        if (count == QDW_PIXELS && first >= line->low && last < line->high)
            for (size_t ky = 0; ky < l->kh; ky++)
                from.row[ky] = line->row[ky] + (first - line->low) * line->step + j;
        else
            qdwconv_neon_gather(l, line, i, j, &from);
        four(g, &from, line->first + i, count, out + i * line->ldo, line->ldo);
    }
}

/* A line, any kernel, pixel by pixel in int32. */
static void qdwconv_neon_any(const qdwconv_layer *l, const qdwconv_line *line, const qdwconv_neon_group *g)
{
    const size_t taps = l->kh * l->kw, j = g->tail.j;
    const int16_t *wide = g->w;
    const int8_t *narrow = g->w;
    const uint8x16_t flip = vdupq_n_u8(g->of->depth == QDW_WIDE ? 0 : 128);
    uint8_t *out = line->out + j * l->tail->bytes;
    for (size_t i = 0; i < line->count; i++, out += line->ldo) {
        int32x4_t sum[QDW_PIXELS][4];
        for (int v = 0; v < 4; v++)
            sum[0][v] = vld1q_s32(g->base + 4 * v);
        for (size_t t = 0; t < taps; t++) {
            const uint8_t *at = qdwconv_neon_column(line, t / l->kw, i * l->sw + t % l->kw * l->dw, j);
            const int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(at), flip));
            int16x8_t a[2], w[2];
            if (g->of->depth == QDW_WIDE) {
                a[0] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(vreinterpretq_u8_s8(x))));
                a[1] = vreinterpretq_s16_u16(vmovl_high_u8(vreinterpretq_u8_s8(x)));
                w[0] = vld1q_s16(wide + t * QDW_SIXTEEN);
                w[1] = vld1q_s16(wide + t * QDW_SIXTEEN + 8);
            } else {
                const int8x16_t weights = vld1q_s8(narrow + t * QDW_SIXTEEN);
                a[0] = vmovl_s8(vget_low_s8(x));
                a[1] = vmovl_high_s8(x);
                w[0] = vmovl_s8(vget_low_s8(weights));
                w[1] = vmovl_high_s8(weights);
            }
            for (int h = 0; h < 2; h++) {
                sum[0][2 * h] = vmlal_s16(sum[0][2 * h], vget_low_s16(a[h]), vget_low_s16(w[h]));
                sum[0][2 * h + 1] = vmlal_high_s16(sum[0][2 * h + 1], a[h], w[h]);
            }
        }
        qdwconv_neon_put(g, line->first + i, 1, sum, out, line->ldo);
    }
}

/* Groups of 32 channels: two sixteens each, but the last. */
static void qdwconv_neon_run(const qdwconv_layer *l, const qdwconv_line *line, size_t begin, size_t end)
{
    const size_t sixteens = min_size(2 * end, qdwconv_sixteens(l->c));
    for (size_t s = 2 * begin; s < sixteens; s++) {
        const qdwconv_neon_group *g = qdwconv_neon_groups(l) + s;
        qdwconv_neon_four *four = qdwconv_neon_choose(l, g->of->depth);
        if (four)
            qdwconv_neon_fours(l, line, g, four);
        else
            qdwconv_neon_any(l, line, g);
    }
}

static size_t qdwconv_neon_count(size_t c) { return ceil_div(c, QDWCONV_CHANNELS); }

PCX_HIDDEN extern const qdwconv_micro qdwconv_micro_neon;
const qdwconv_micro qdwconv_micro_neon = {
    .channels = QDWCONV_CHANNELS, .width = QDWCONV_WIDTH, .lines = 1, .groups = qdwconv_neon_count,
    .prepared = qdwconv_neon_prepared, .prepare = qdwconv_neon_prepare,
    .scratch = qdwconv_neon_scratch, .make = qdwconv_neon_make, .run = qdwconv_neon_run,
};
#endif
