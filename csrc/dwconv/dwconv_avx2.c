/*
 * dwconv_avx2.c - tiles of neighbouring outputs times 8 channels: a pixel, once loaded, meets every output
 * whose window holds it, and a line of weights stays in registers.  Windows 3 and 5 wide that step by 1 or 2
 * pixels have such tiles; any other geometry, and the last c % 8 channels, go one output at a time.
 */
#include "dwconv.h"

#include "../runtime/act.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

enum { LANES = 8, WIDE = 7, NARROW = 3, MOST = 4 }; /* WIDE outputs: 224 / 2^i is a multiple; MOST: vectors */

/* A unit: output lines [y, y_end) of an image, channels [c, c_end).  Channel blocks keep kh lines in L1. */
typedef struct {
    size_t blocks, channels, bands, lines;
} split;

static split split_of(const pcx_dwconv_args *p)
{
    enum { FLOATS = 5120, STEP = 16, UNITS = 32, LEAST = 4 };
    split s = { 0 };
    if (!p->b || !p->oh || !p->ow || !p->c)
        return s;
    const size_t fit = round_up(FLOATS / (p->kh * max_size(p->iw, 1)) + 1, STEP); /* both are below 2^31 */
    s.blocks = ceil_div(p->c, fit);
    s.channels = round_up(ceil_div(p->c, s.blocks), STEP);
    s.blocks = ceil_div(p->c, s.channels);
    s.bands = min_size(ceil_div(ceil_div(UNITS, s.blocks), p->b), ceil_div(p->oh, LEAST));
    s.lines = ceil_div(p->oh, s.bands);
    s.bands = ceil_div(p->oh, s.lines);
    return s;
}

size_t dwconv_units_avx2(const void *args)
{
    const pcx_dwconv_args *p = args;
    const split s = split_of(p);
    return p->b * s.bands * s.blocks;
}

/* An output line: the lines of weights that meet the image, and the first of its lines that they meet. */
typedef struct {
    const pcx_dwconv_args *p;
    size_t ky, ky_end;
    const float *in; /* line of the image under weight line ky */
    size_t pixel;    /* output pixel at x = 0 */
    float least, greatest;
} line;

static line line_of(const pcx_dwconv_args *p, size_t image, size_t y)
{
    line l = { .p = p, .pixel = (image * p->oh + y) * p->ow };
    const size_t top = y * p->sh - p->pt; /* huge above the image */
    while (l.ky < p->kh && top + l.ky * p->dh >= p->ih)
        l.ky++;
    for (l.ky_end = l.ky; l.ky_end < p->kh && top + l.ky_end * p->dh < p->ih;)
        l.ky_end++;
    if (l.ky < l.ky_end)
        l.in = p->x + (image * p->ih + top + l.ky * p->dh) * p->iw * p->ldx;
    pcx_act_bounds(p->act, p->act_params, &l.least, &l.greatest);
    return l;
}

PCX_NOINLINE static void act_slowly(float *x, size_t count, const pcx_dwconv_args *p)
{
    pcx_act_all(x, count, p->act, p->act_params);
}

/* Finish and write the sums of `count` neighbouring outputs, channels [c, c + 8). */
PCX_INLINE void store(const line *l, size_t x, size_t c, const __m256 *sum, const int count)
{
    const pcx_dwconv_args *p = l->p;
    const size_t pixel = l->pixel + x;
    const __m256 bias = p->bias ? _mm256_loadu_ps(p->bias + c) : _mm256_setzero_ps();
    const __m256 least = _mm256_set1_ps(l->least), greatest = _mm256_set1_ps(l->greatest);
    const int slow = p->act > PCX_ACT_CLIP;
    float buffer[WIDE * LANES], *out = slow ? buffer : p->out + pixel * p->ldo + c;
    const size_t ldo = slow ? LANES : p->ldo;
    PCX_UNROLL
    for (int t = 0; t < count; t++) {
        __m256 y = _mm256_add_ps(sum[t], bias);
        if (p->residual)
            y = _mm256_add_ps(y, _mm256_loadu_ps(p->residual + (pixel + t) * p->ldr + c));
        /* max and min return their second argument if one is NaN */
        _mm256_storeu_ps(out + t * ldo, _mm256_min_ps(greatest, _mm256_max_ps(least, y)));
    }
    if (!slow)
        return;
    act_slowly(buffer, (size_t)count * LANES, p);
    for (int t = 0; t < count; t++)
        memcpy(p->out + (pixel + t) * p->ldo + c, buffer + t * LANES, LANES * sizeof *buffer);
}

/* `count` outputs from x on, all channels [c, c_end), by weights kw wide and steps of sw.  Checked: columns
 * beyond the image are left out. */
PCX_INLINE void tile(const line *l, size_t x, size_t c, size_t c_end, const int count, const int kw, const int sw,
                     const int checked)
{
    const pcx_dwconv_args *p = l->p;
    const int columns = (count - 1) * sw + kw;
    const size_t left = x * sw - p->pl, step = p->dh * p->iw * p->ldx;
    uint32_t there = 0;
    for (int i = 0; checked && i < columns; i++)
        there |= (uint32_t)(left + i < p->iw) << i;
    for (; c < c_end; c += LANES) {
        __m256 sum[WIDE];
        PCX_UNROLL
        for (int t = 0; t < count; t++)
            sum[t] = _mm256_setzero_ps();
        const float *in = l->in + (ptrdiff_t)left * (ptrdiff_t)p->ldx + c, *w = p->w + l->ky * kw * p->c + c;
        for (size_t ky = l->ky; ky < l->ky_end; ky++, in += step, w += kw * p->c) {
            __m256 weight[5];
            PCX_UNROLL
            for (int kx = 0; kx < kw; kx++)
                weight[kx] = _mm256_loadu_ps(w + kx * p->c);
            PCX_UNROLL
            for (int i = 0; i < columns; i++) {
                if (checked && !(there >> i & 1))
                    continue;
                const __m256 value = _mm256_loadu_ps(in + i * p->ldx);
                PCX_UNROLL
                for (int t = 0; t < count; t++)
                    if (i >= t * sw && i - t * sw < kw)
                        sum[t] = _mm256_fmadd_ps(value, weight[i - t * sw], sum[t]);
            }
        }
        store(l, x, c, sum, count);
    }
}

typedef void tile_fn(const line *l, size_t x, size_t c, size_t c_end);
#define TILE(name, count, kw, sw, checked) \
    PCX_NOINLINE static void name(const line *l, size_t x, size_t c, size_t c_end) \
    { \
        tile(l, x, c, c_end, count, kw, sw, checked); \
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

static int has_tiles(const pcx_dwconv_args *p)
{
    return (p->kw == 3 || p->kw == 5) && (p->sw == 1 || p->sw == 2) && p->dw == 1;
}

static void line_by_tiles(const line *l, size_t c, size_t c_end)
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
PCX_INLINE void output(const line *l, size_t x, size_t c, const int nv)
{
    const pcx_dwconv_args *p = l->p;
    const size_t left = x * p->sw - p->pl, step = p->dh * p->iw * p->ldx;
    const float *in = l->in;
    __m256 sum[MOST];
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        sum[v] = _mm256_setzero_ps();
    for (size_t ky = l->ky; ky < l->ky_end; ky++, in += step)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t ix = left + kx * p->dw;
            if (ix >= p->iw)
                continue;
            const float *value = in + ix * p->ldx + c, *w = p->w + (ky * p->kw + kx) * p->c + c;
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                sum[v] = _mm256_fmadd_ps(_mm256_loadu_ps(value + v * LANES), _mm256_loadu_ps(w + v * LANES), sum[v]);
        }
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        store(l, x, c + v * LANES, sum + v, 1);
}

static void line_by_outputs(const line *l, size_t c, size_t c_end)
{
    for (; c + MOST * LANES <= c_end; c += MOST * LANES)
        for (size_t x = 0; x < l->p->ow; x++)
            output(l, x, c, MOST);
    for (; c < c_end; c += LANES)
        for (size_t x = 0; x < l->p->ow; x++)
            output(l, x, c, 1);
}

/* The last c_end - c < 8 channels of a line. */
static void line_rest(const line *l, size_t c, size_t c_end)
{
    const pcx_dwconv_args *p = l->p;
    for (size_t x = 0; x < p->ow; x++)
        for (size_t j = c; j < c_end; j++) {
            const float *in = l->in;
            float y = 0;
            for (size_t ky = l->ky; ky < l->ky_end; ky++, in += p->dh * p->iw * p->ldx)
                for (size_t kx = 0; kx < p->kw; kx++) {
                    const size_t ix = x * p->sw - p->pl + kx * p->dw;
                    if (ix < p->iw)
                        y = fmaf(in[ix * p->ldx + j], p->w[(ky * p->kw + kx) * p->c + j], y);
                }
            y += p->bias ? p->bias[j] : 0;
            y += p->residual ? p->residual[(l->pixel + x) * p->ldr + j] : 0;
            p->out[(l->pixel + x) * p->ldo + j] = pcx_act(y, p->act, p->act_params);
        }
}

void dwconv_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_dwconv_args *p = args;
    const split s = split_of(p);
    (void)scratch;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t band = unit / s.blocks, y = band % s.bands * s.lines, image = band / s.bands;
        const size_t c = unit % s.blocks * s.channels, c_end = min_size(c + s.channels, p->c);
        const size_t c_full = c + (c_end - c) / LANES * LANES;
        for (size_t i = y; i < min_size(y + s.lines, p->oh); i++) {
            const line l = line_of(p, image, i);
            if (has_tiles(p))
                line_by_tiles(&l, c, c_full);
            else
                line_by_outputs(&l, c, c_full);
            line_rest(&l, c_full, c_end);
        }
    }
}

PCX_TARGET_END
#endif
