/*
 * dwconv_neon.c - tiles of neighbouring outputs times 8 channels, as dwconv_avx2.c has them: 14 sums and a line of weights
 * fill the registers.  The last 8 channels may overlap those before: the same numbers come out.
 * llvm-mca 19, a line of 3 x 3, MAC a cycle on cortex-a72, neoverse-n1, neoverse-v1: 3.98 of 4, 7.94 of 8, 13.8 of 16; at stride
 * 2 3.97, 7.93, 13.8; 5 x 5 3.98, 7.95, 13.9.
 */
#include "dwconv_line.h"

#include "../common/act_neon.h"

#if PCX_ARM64

/* Outputs of a tile: 7 divides the widths of common images.  Elsewhere one output. */
enum { LANES = 4, PAIR = 2 * LANES, WIDE = 7, NARROW = 3 };

/*
 * A unit: some output lines of an image times a block of channels.  The lines of a window should fit L1, because each is read
 * for several lines of outputs; but short runs of channels use memory badly.
 */
typedef struct {
    size_t blocks, channels, tiles, lines;
} split;

static split dwconv_neon_split_of(const pcx_dwconv_args *p)
{
    enum { NEAR = 7000, RUN = 160, STEP = 16, UNITS = 32, MIN = 4 };
    split s = { 0 };
    if (!p->b || !p->oh || !p->ow || !p->c)
        return s;
    const size_t near = NEAR / (p->kh * max_size(p->iw, 1)) + 1; /* both are below 2^31 */
    s.blocks = ceil_div(p->c, round_up(max_size(near, RUN), STEP));
    s.channels = round_up(ceil_div(p->c, s.blocks), STEP);
    s.blocks = ceil_div(p->c, s.channels);
    s.tiles = min_size(ceil_div(ceil_div(UNITS, s.blocks), p->b), ceil_div(p->oh, MIN));
    s.lines = ceil_div(p->oh, s.tiles);
    s.tiles = ceil_div(p->oh, s.lines);
    return s;
}

size_t dwconv_units_neon(const void *args)
{
    const pcx_dwconv_args *p = args;
    const split s = dwconv_neon_split_of(p);
    return p->b * s.tiles * s.blocks;
}

/* Add the residual, activate and write `count` neighbouring outputs, 8 channels each. */
PCX_NOINLINE static void dwconv_neon_store_slowly(const dwconv_line *l, size_t x, size_t c, float *sum, size_t count)
{
    const pcx_dwconv_args *p = l->p;
    for (size_t i = 0; p->tail.residual && i < count * PAIR; i++)
        sum[i] += p->tail.residual[(l->pixel + x + i / PAIR) * p->tail.ldr + c + i % PAIR];
    act_loop_run(sum, sum, count * PAIR, p->tail.act, p->tail.act_params);
    for (size_t t = 0; t < count; t++)
        memcpy(l->out + (x + t) * l->ldo + c, sum + t * PAIR, PAIR * sizeof *sum);
}

PCX_INLINE void dwconv_neon_store(const dwconv_line *at, const dwconv_line l, size_t x, size_t c, float32x4_t sum[][2],
                                  const int count)
{
    if (l.bias) {
        const float32x4_t low = vld1q_f32(l.bias + c), high = vld1q_f32(l.bias + c + LANES);
        PCX_UNROLL
        for (int t = 0; t < count; t++) {
            sum[t][0] = vaddq_f32(sum[t][0], low);
            sum[t][1] = vaddq_f32(sum[t][1], high);
        }
    }
    if (!PCX_LIKELY(!l.slow || l.hardswish)) {
        float buffer[WIDE * PAIR];
        PCX_UNROLL
        for (int t = 0; t < count; t++) {
            vst1q_f32(buffer + t * PAIR, sum[t][0]);
            vst1q_f32(buffer + t * PAIR + LANES, sum[t][1]);
        }
        dwconv_neon_store_slowly(at, x, c, buffer, count);
        return;
    }
    const float32x4_t min = vdupq_n_f32(l.min), max = vdupq_n_f32(l.max);
    PCX_UNROLL
    for (int t = 0; t < count; t++) {
        PCX_UNROLL
        for (int v = 0; v < 2; v++)
            vst1q_f32(l.out + (x + t) * l.ldo + c + v * LANES,
                      l.hardswish ? act_neon_hardswish(sum[t][v]) : act_neon_bounds(sum[t][v], min, max));
    }
}

/*
 * `count` outputs from x on, 8 channels from c on, by weights kw wide and steps of sw.  inside: a bit for each column that
 * lies in the image; checked: there may be others.
 */
PCX_INLINE void dwconv_neon_pair(const dwconv_line *at, const dwconv_line l, size_t x, size_t c, uint32_t inside,
                                 const int count, const int kw, const int sw, const int checked)
{
    const size_t left = x * sw - l.p->pl;
    const float *in = l.in + (ptrdiff_t)left * (ptrdiff_t)l.ldx + (c - l.c), *w = l.w + c;
    float32x4_t sum[WIDE][2];
    PCX_UNROLL
    for (int t = 0; t < count; t++)
        sum[t][0] = sum[t][1] = vdupq_n_f32(0);
    for (size_t ky = l.ky; ky < l.ky_end; ky++, in += l.step, w += kw * l.ldw) {
        const float *pixel = in;
        float32x4_t weight[5][2];
        PCX_UNROLL
        for (int kx = 0; kx < kw; kx++) {
            weight[kx][0] = vld1q_f32(w + kx * l.ldw);
            weight[kx][1] = vld1q_f32(w + kx * l.ldw + LANES);
        }
        PCX_UNROLL
        for (int i = 0; i < (count - 1) * sw + kw; i++, pixel += l.ldx) {
            PCX_OPAQUE(pixel);
            if (checked && !(inside >> i & 1))
                continue;
            const float32x4_t a = vld1q_f32(pixel), b = vld1q_f32(pixel + LANES);
            PCX_UNROLL
            for (int t = 0; t < count; t++)
                if (i >= t * sw && i - t * sw < kw) {
                    sum[t][0] = vfmaq_f32(sum[t][0], a, weight[i - t * sw][0]);
                    sum[t][1] = vfmaq_f32(sum[t][1], b, weight[i - t * sw][1]);
                }
        }
    }
    dwconv_neon_store(at, l, x, c, sum, count);
}

/* All channels [c, c_end), 8 at least. */
PCX_INLINE void dwconv_neon_tile(const dwconv_line *at, size_t x, size_t c, size_t c_end, const int count, const int kw,
                                 const int sw, const int checked)
{
    const dwconv_line l = *at;
    uint32_t inside = 0;
    for (int i = 0; checked && i < (count - 1) * sw + kw; i++)
        inside |= (uint32_t)(x * sw - l.p->pl + i < l.p->iw) << i;
    for (; c < c_end; c += PAIR)
        dwconv_neon_pair(at, l, x, min_size(c, c_end - PAIR), inside, count, kw, sw, checked);
}

typedef void tile_fn(const dwconv_line *l, size_t x, size_t c, size_t c_end);
#define TILE(name, count, kw, sw, checked) \
    PCX_NOINLINE static void name(const dwconv_line *l, size_t x, size_t c, size_t c_end) \
    { \
        dwconv_neon_tile(l, x, c, c_end, count, kw, sw, checked); \
    }
#define TILES(kw, sw) \
    TILE(inside_##kw##s##sw, WIDE, kw, sw, 0) \
    TILE(wide_##kw##s##sw, WIDE, kw, sw, 1) \
    TILE(narrow_##kw##s##sw, NARROW, kw, sw, 1) \
    TILE(one_##kw##s##sw, 1, kw, sw, 1)
TILES(3, 1)
TILES(3, 2)
TILES(5, 1)
TILES(5, 2)
#define SET(kw, sw) { inside_##kw##s##sw, wide_##kw##s##sw, narrow_##kw##s##sw, one_##kw##s##sw }
static tile_fn *const tiles[2][2][4] = { { SET(3, 1), SET(3, 2) }, { SET(5, 1), SET(5, 2) } };

static void dwconv_neon_line_by_tiles(const dwconv_line *l, size_t c, size_t c_end)
{
    const pcx_dwconv_args *p = l->p;
    tile_fn *const *set = tiles[p->kw == 5][p->sw == 2];
    const size_t columns = (WIDE - 1) * p->sw + p->kw;
    for (size_t x = 0; x < p->ow;) {
        const size_t rest = p->ow - x, left = x * p->sw - p->pl;
        if (rest >= WIDE) {
            const int inside = left < p->iw && left + columns <= p->iw;
            set[inside ? 0 : 1](l, x, c, c_end);
            x += WIDE;
        } else {
            set[rest >= NARROW ? 2 : 3](l, x, c, c_end);
            x += rest >= NARROW ? NARROW : 1;
        }
    }
}

/* One output after the other, any geometry, all channels [c, c_end), 8 at least. */
static void dwconv_neon_line_by_outputs(const dwconv_line *l, size_t c, size_t c_end)
{
    const pcx_dwconv_args *p = l->p;
    for (size_t first = c; first < c_end; first += PAIR) {
        const size_t channel = min_size(first, c_end - PAIR);
        for (size_t x = 0; x < p->ow; x++) {
            const float *in = l->in + (channel - l->c);
            float32x4_t sum[1][2] = { { vdupq_n_f32(0), vdupq_n_f32(0) } };
            for (size_t ky = l->ky; ky < l->ky_end; ky++, in += l->step)
                for (size_t kx = 0; kx < p->kw; kx++) {
                    const size_t ix = x * p->sw - p->pl + kx * p->dw;
                    if (ix >= p->iw)
                        continue;
                    const float *value = in + ix * l->ldx, *w = p->w + (ky * p->kw + kx) * p->c + channel;
                    sum[0][0] = vfmaq_f32(sum[0][0], vld1q_f32(value), vld1q_f32(w));
                    sum[0][1] = vfmaq_f32(sum[0][1], vld1q_f32(value + LANES), vld1q_f32(w + LANES));
                }
            dwconv_neon_store(l, *l, x, channel, sum, 1);
        }
    }
}

/* Less than 8 channels of a line. */
static void dwconv_neon_line_of_few(const dwconv_line *l, size_t c, size_t c_end)
{
    const pcx_dwconv_args *p = l->p;
    for (size_t x = 0; x < p->ow; x++)
        for (size_t j = c; j < c_end; j++) {
            const float *in = l->in;
            float y = 0;
            for (size_t ky = l->ky; ky < l->ky_end; ky++, in += l->step)
                for (size_t kx = 0; kx < p->kw; kx++) {
                    const size_t ix = x * p->sw - p->pl + kx * p->dw;
                    if (ix < p->iw)
                        y = fmaf(in[ix * l->ldx + j - l->c], p->w[(ky * p->kw + kx) * p->c + j], y);
                }
            y += p->tail.bias ? p->tail.bias[j] : 0;
            y += p->tail.residual ? p->tail.residual[(l->pixel + x) * p->tail.ldr + j] : 0;
            p->out[(l->pixel + x) * p->ldo + j] = act_apply(y, p->tail.act, p->tail.act_params);
        }
}

void dwconv_neon(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_dwconv_args *p = args;
    const split s = dwconv_neon_split_of(p);
    (void)scratch;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t tile = unit / s.blocks, y = tile % s.tiles * s.lines, image = tile / s.tiles;
        const size_t y_end = min_size(y + s.lines, p->oh);
        const size_t c = unit % s.blocks * s.channels, c_end = min_size(c + s.channels, p->c);
        const dwconv_view v = { p->x + image * p->ih * p->iw * p->ldx + c, 0, p->ldx, c };
        for (size_t i = y; i < y_end; i++) {
            const dwconv_line l = dwconv_line_of(p, &v, image, i);
            if (c_end - c < PAIR)
                dwconv_neon_line_of_few(&l, c, c_end);
            else if (dwconv_line_has_tiles(p))
                dwconv_neon_line_by_tiles(&l, c, c_end);
            else
                dwconv_neon_line_by_outputs(&l, c, c_end);
        }
    }
}

#endif
