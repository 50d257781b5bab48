/*
 * dwconv_avx2.c - tiles of neighbouring outputs times 8 channels: a pixel is loaded once for all outputs whose
 * windows contain it, and a line of weights stays in registers.  There are such tiles for kernels of width 3 and 5
 * with stride 1 or 2; other geometries, and the last c % 8 channels, are computed one output at a time.
 */
#include "dwconv_line.h"

#include "../common/act_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

/* Outputs of a tile: 7 divides the widths of common images.  Elsewhere MAX vectors of channels at once. */
enum { LANES = 8, WIDE = 7, NARROW = 3, MAX = 4 };

/*
 * A unit: some output lines of an image times a block of channels.  Long runs of channels use memory best, up to the
 * size of L2; the lines of a window of more than 3 lines are read so often that they should fit L1.
 */
typedef struct {
    size_t blocks, channels, tiles, lines;
    int copied;
} split;

static split dwconv_avx2_split_of(const pcx_dwconv_args *p)
{
    enum { FAR = 40960, NEAR = 5120, STEP = 16, UNITS = 32, MIN = 4, ALIAS = 512 };
    split s = { 0 };
    if (!p->b || !p->oh || !p->ow || !p->c)
        return s;
    /* Pixels with a stride that is a multiple of 2 KiB share few sets of the cache: work on a copy without gaps. */
    s.copied = p->ldx >= p->c && p->ldx % ALIAS == 0;
    const size_t floats = s.copied || p->kh > 3 ? NEAR : FAR;
    const size_t fit = round_up(floats / (p->kh * max_size(p->iw, 1)) + 1, STEP); /* both are below 2^31 */
    s.blocks = ceil_div(p->c, fit);
    s.channels = round_up(ceil_div(p->c, s.blocks), STEP);
    s.blocks = ceil_div(p->c, s.channels);
    s.tiles = min_size(ceil_div(ceil_div(UNITS, s.blocks), p->b), ceil_div(p->oh, MIN));
    s.lines = ceil_div(p->oh, s.tiles);
    s.tiles = ceil_div(p->oh, s.lines);
    return s;
}

size_t dwconv_units_avx2(const void *args)
{
    const pcx_dwconv_args *p = args;
    const split s = dwconv_avx2_split_of(p);
    return p->b * s.tiles * s.blocks;
}

/* Add the residual, activate and write `count` neighbouring outputs, 8 channels each. */
PCX_NOINLINE static void dwconv_avx2_store_slowly(const dwconv_line *l, size_t x, size_t c, float *sum, size_t count)
{
    const pcx_dwconv_args *p = l->p;
    for (size_t i = 0; p->tail.residual && i < count * LANES; i++)
        sum[i] += p->tail.residual[(l->pixel + x + i / LANES) * p->tail.ldr + c + i % LANES];
    for (size_t t = 0; t < count; t++)
        act_avx2_row(l->out + (x + t) * l->ldo + c, sum + t * LANES, LANES, p->tail.act, p->tail.act_params);
}

PCX_INLINE void dwconv_avx2_store(const dwconv_line *at, const dwconv_line l, size_t x, size_t c, __m256 *sum, const int count)
{
    if (l.bias) {
        const __m256 bias = _mm256_loadu_ps(l.bias + c);
        PCX_UNROLL
        for (int t = 0; t < count; t++)
            sum[t] = _mm256_add_ps(sum[t], bias);
    }
    if (PCX_LIKELY(!l.slow)) {
        const __m256 min = _mm256_set1_ps(l.min), max = _mm256_set1_ps(l.max);
        PCX_UNROLL
        for (int t = 0; t < count; t++) /* max and min return their second argument if one is NaN */
            _mm256_storeu_ps(l.out + (x + t) * l.ldo + c, _mm256_min_ps(max, _mm256_max_ps(min, sum[t])));
    } else {
        float buffer[WIDE * LANES];
        PCX_UNROLL
        for (int t = 0; t < count; t++)
            _mm256_storeu_ps(buffer + t * LANES, sum[t]);
        dwconv_avx2_store_slowly(at, x, c, buffer, count);
    }
}

/*
 * Pixel i of a line, in the addressing modes of x86: base + 1, 2, 4 or 8 times 1, 3, 5 or 7 pixels.  Made anew
 * for each line, since compilers would rather keep the 17 products in memory.
 */
typedef struct {
    const char *near, *far; /* pixels 0 and 8 */
    size_t p1, p3, p5, p7;  /* bytes */
} pixels;

PCX_INLINE __m256 dwconv_avx2_pixel(const pixels *a, const int i)
{
    const char *from = i < 8 ? a->near : a->far;
    const int k = i < 8 ? i : i - 8;
    const size_t offset = k == 6 ? a->p3 * 2 : k == 7 ? a->p7 : k == 5 ? a->p5 : k == 3 ? a->p3 : a->p1 * (size_t)k;
    return _mm256_loadu_ps((const float *)(const void *)(from + offset));
}

/* `count` outputs from x on, all channels [c, c_end), by weights kw wide and steps of sw.  Checked: columns
 * beyond the image are left out. */
PCX_INLINE void dwconv_avx2_tile(const dwconv_line *at, size_t x, size_t c, size_t c_end, const int count, const int kw,
                                 const int sw, const int checked)
{
    const dwconv_line l = *at;
    const int columns = (count - 1) * sw + kw;
    const size_t left = x * sw - l.p->pl, p1 = l.ldx * sizeof(float);
    uint32_t there = 0;
    for (int i = 0; checked && i < columns; i++)
        there |= (uint32_t)(left + i < l.p->iw) << i;
    for (; c < c_end; c += LANES) {
        __m256 sum[WIDE];
        PCX_UNROLL
        for (int t = 0; t < count; t++)
            sum[t] = _mm256_setzero_ps();
        const float *in = l.in + (ptrdiff_t)left * (ptrdiff_t)l.ldx + (c - l.c), *w = l.w + c;
        for (size_t ky = l.ky; ky < l.ky_end; ky++, in += l.step, w += kw * l.ldw) {
            pixels a = { (const char *)in, (const char *)(in + 8 * l.ldx), p1, 3 * p1, 5 * p1, 7 * p1 };
            PCX_OPAQUE(a.far);
            PCX_OPAQUE(a.p1);
            PCX_OPAQUE(a.p3);
            PCX_OPAQUE(a.p5);
            PCX_OPAQUE(a.p7);
            __m256 weight[5];
            PCX_UNROLL
            for (int kx = 0; kx < kw; kx++)
                weight[kx] = _mm256_loadu_ps(w + kx * l.ldw);
            PCX_UNROLL
            for (int i = 0; i < columns; i++) {
                if (checked && !(there >> i & 1))
                    continue;
                const __m256 value = dwconv_avx2_pixel(&a, i);
                PCX_UNROLL
                for (int t = 0; t < count; t++)
                    if (i >= t * sw && i - t * sw < kw)
                        sum[t] = _mm256_fmadd_ps(value, weight[i - t * sw], sum[t]);
            }
        }
        dwconv_avx2_store(at, l, x, c, sum, count);
    }
}

typedef void tile_fn(const dwconv_line *l, size_t x, size_t c, size_t c_end);
#define TILE(name, count, kw, sw, checked) \
    PCX_NOINLINE static void name(const dwconv_line *l, size_t x, size_t c, size_t c_end) \
    { \
        dwconv_avx2_tile(l, x, c, c_end, count, kw, sw, checked); \
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

static void dwconv_avx2_line_by_tiles(const dwconv_line *l, size_t c, size_t c_end)
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

/* One output, any geometry, nv vectors of channels. */
PCX_INLINE void dwconv_avx2_output(const dwconv_line *l, size_t x, size_t c, const int nv)
{
    const pcx_dwconv_args *p = l->p;
    const size_t left = x * p->sw - p->pl;
    const float *in = l->in;
    __m256 sum[MAX];
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        sum[v] = _mm256_setzero_ps();
    for (size_t ky = l->ky; ky < l->ky_end; ky++, in += l->step)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t ix = left + kx * p->dw;
            if (ix >= p->iw)
                continue;
            const float *value = in + ix * l->ldx + (c - l->c), *w = p->w + (ky * p->kw + kx) * p->c + c;
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                sum[v] = _mm256_fmadd_ps(_mm256_loadu_ps(value + v * LANES), _mm256_loadu_ps(w + v * LANES), sum[v]);
        }
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        dwconv_avx2_store(l, *l, x, c + v * LANES, sum + v, 1);
}

static void dwconv_avx2_line_by_outputs(const dwconv_line *l, size_t c, size_t c_end)
{
    for (; c + MAX * LANES <= c_end; c += MAX * LANES)
        for (size_t x = 0; x < l->p->ow; x++)
            dwconv_avx2_output(l, x, c, MAX);
    for (; c < c_end; c += LANES)
        for (size_t x = 0; x < l->p->ow; x++)
            dwconv_avx2_output(l, x, c, 1);
}

/* The last c_end - c < 8 channels of a line. */
static void dwconv_avx2_line_rest(const dwconv_line *l, size_t c, size_t c_end)
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


static size_t dwconv_avx2_copied_lines(const pcx_dwconv_args *p, const split *s)
{
    return min_size(p->ih, (s->lines - 1) * p->sh + (p->kh - 1) * p->dh + 1);
}

size_t dwconv_scratch_avx2(const void *args)
{
    const pcx_dwconv_args *p = args;
    const split s = dwconv_avx2_split_of(p);
    return !s.copied ? 0 : dwconv_avx2_copied_lines(p, &s) * p->iw * s.channels * sizeof(float);
}

/* The lines that the outputs [y, y_end) meet, channels [v->c, c_end) only, without gaps. */
static void dwconv_avx2_copy(const pcx_dwconv_args *p, size_t y, size_t y_end, size_t c_end, dwconv_view *v, float *to)
{
    const size_t top = y * p->sh > p->pt ? y * p->sh - p->pt : 0, reach = (y_end - 1) * p->sh + (p->kh - 1) * p->dh + 1;
    const size_t end = min_size(p->ih, reach > p->pt ? reach - p->pt : 0), count = c_end - v->c;
    const float *from = v->x + top * p->iw * p->ldx;
    v->x = to;
    v->top = top;
    v->ldx = count;
    for (size_t i = top; i < end; i++)
        for (size_t x = 0; x < p->iw; x++, from += p->ldx, to += count) {
            size_t j = 0;
            for (; j + LANES <= count; j += LANES)
                _mm256_storeu_ps(to + j, _mm256_loadu_ps(from + j));
            for (; j < count; j++)
                to[j] = from[j];
        }
}

void dwconv_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_dwconv_args *p = args;
    const split s = dwconv_avx2_split_of(p);
    for (size_t unit = begin; unit < end; unit++) {
        const size_t tile = unit / s.blocks, y = tile % s.tiles * s.lines, image = tile / s.tiles;
        const size_t y_end = min_size(y + s.lines, p->oh);
        const size_t c = unit % s.blocks * s.channels, c_end = min_size(c + s.channels, p->c);
        const size_t c_full = c + (c_end - c) / LANES * LANES;
        dwconv_view v = { p->x + image * p->ih * p->iw * p->ldx + c, 0, p->ldx, c };
        if (s.copied)
            dwconv_avx2_copy(p, y, y_end, c_end, &v, scratch);
        for (size_t i = y; i < y_end; i++) {
            const dwconv_line l = dwconv_line_of(p, &v, image, i);
            if (dwconv_line_has_tiles(p))
                dwconv_avx2_line_by_tiles(&l, c, c_full);
            else
                dwconv_avx2_line_by_outputs(&l, c, c_full);
            dwconv_avx2_line_rest(&l, c_full, c_end);
        }
    }
}

PCX_TARGET_END
#endif
