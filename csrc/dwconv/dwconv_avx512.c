/*
 * dwconv_avx512.c - tiles of neighbouring outputs times 16 channels, as dwconv_avx2.c has them.  Masks keep the channels
 * beyond c out.
 */
#include "dwconv_line.h"

#include "../common/act_avx512.h"

#if PCX_X86

PCX_TARGET(PCX_TARGET_AVX512)

/* Outputs of a tile: 7 divides the widths of common images.  Elsewhere MAX vectors of channels at once. */
enum { LANES = 16, WIDE = 7, NARROW = 3, MAX = 4 };

/*
 * A unit: some output lines of an image times a block of channels.  The lines of a window should fit L1, because each is read
 * for several lines of outputs; but short runs of channels use memory badly.
 */
typedef struct {
    size_t blocks, channels, tiles, lines;
} split;

static split dwconv_avx512_split_of(const pcx_dwconv_args *p)
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

size_t dwconv_units_avx512(const void *args)
{
    const pcx_dwconv_args *p = args;
    const split s = dwconv_avx512_split_of(p);
    return p->b * s.tiles * s.blocks;
}

/* Which of LANES channels from c on are there. */
PCX_INLINE __mmask16 dwconv_avx512_there(size_t c, size_t c_end)
{
    return (__mmask16)(0xffff >> (LANES - min_size(LANES, c_end - c)));
}

/* Add the residual, activate and write `count` neighbouring outputs, LANES channels each. */
PCX_NOINLINE static void dwconv_avx512_store_slowly(const dwconv_line *l, size_t x, size_t c, float *sum, size_t count,
                                                    __mmask16 there)
{
    const pcx_dwconv_args *p = l->p;
    for (size_t t = 0; p->tail.residual && t < count; t++) {
        const float *residual = p->tail.residual + (l->pixel + x + t) * p->tail.ldr + c;
        float *const at = sum + t * LANES;
        _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), _mm512_maskz_loadu_ps(there, residual)));
    }
    act_avx512_row(sum, sum, count * LANES, p->tail.act, p->tail.act_params);
    for (size_t t = 0; t < count; t++)
        _mm512_mask_storeu_ps(l->out + (x + t) * l->ldo + c, there, _mm512_loadu_ps(sum + t * LANES));
}

PCX_INLINE void dwconv_avx512_store(const dwconv_line *at, const dwconv_line l, size_t x, size_t c, __m512 *sum,
                                    __mmask16 there, const int count)
{
    if (l.bias) {
        const __m512 bias = _mm512_maskz_loadu_ps(there, l.bias + c);
        PCX_UNROLL
        for (int t = 0; t < count; t++)
            sum[t] = _mm512_add_ps(sum[t], bias);
    }
    if (PCX_LIKELY(!l.slow)) {
        const __m512 min = _mm512_set1_ps(l.min), max = _mm512_set1_ps(l.max);
        PCX_UNROLL
        for (int t = 0; t < count; t++) { /* max and min return their second argument if one is NaN */
            const __m512 y = _mm512_min_ps(max, _mm512_max_ps(min, sum[t]));
            _mm512_mask_storeu_ps(l.out + (x + t) * l.ldo + c, there, y);
        }
    } else if (l.hardswish) {
        PCX_UNROLL
        for (int t = 0; t < count; t++)
            _mm512_mask_storeu_ps(l.out + (x + t) * l.ldo + c, there, act_avx512_apply(sum[t], PCX_ACT_HARDSWISH, NULL));
    } else {
        float buffer[WIDE * LANES];
        PCX_UNROLL
        for (int t = 0; t < count; t++)
            _mm512_storeu_ps(buffer + t * LANES, sum[t]);
        dwconv_avx512_store_slowly(at, x, c, buffer, count, there);
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

PCX_INLINE __m512 dwconv_avx512_pixel(const pixels *a, const int i, __mmask16 there)
{
    const char *from = i < 8 ? a->near : a->far;
    const int k = i < 8 ? i : i - 8;
    const size_t offset = k == 6 ? a->p3 * 2 : k == 7 ? a->p7 : k == 5 ? a->p5 : k == 3 ? a->p3 : a->p1 * (size_t)k;
    return _mm512_maskz_loadu_ps(there, from + offset);
}

/*
 * `count` outputs from x on, LANES channels from c on, of these those of `there`.  inside: a bit for each column of the
 * image.
 */
PCX_INLINE void dwconv_avx512_vector(const dwconv_line *at, const dwconv_line l, size_t x, size_t c, __mmask16 there,
                                     uint32_t inside, const int count, const int kw, const int sw, const int checked)
{
    const size_t left = x * sw - l.p->pl, p1 = l.ldx * sizeof(float);
    const float *in = l.in + (ptrdiff_t)left * (ptrdiff_t)l.ldx + (c - l.c), *w = l.w + c;
    __m512 sum[WIDE];
    PCX_UNROLL
    for (int t = 0; t < count; t++)
        sum[t] = _mm512_setzero_ps();
    for (size_t ky = l.ky; ky < l.ky_end; ky++, in += l.step, w += kw * l.ldw) {
        pixels a = { (const char *)in, (const char *)(in + 8 * l.ldx), p1, 3 * p1, 5 * p1, 7 * p1 };
        PCX_OPAQUE(a.far);
        PCX_OPAQUE(a.p1);
        PCX_OPAQUE(a.p3);
        PCX_OPAQUE(a.p5);
        PCX_OPAQUE(a.p7);
        __m512 weight[5];
        PCX_UNROLL
        for (int kx = 0; kx < kw; kx++)
            weight[kx] = _mm512_maskz_loadu_ps(there, w + kx * l.ldw);
        PCX_UNROLL
        for (int i = 0; i < (count - 1) * sw + kw; i++) {
            if (checked && !(inside >> i & 1))
                continue;
            const __m512 value = dwconv_avx512_pixel(&a, i, there);
            PCX_UNROLL
            for (int t = 0; t < count; t++)
                if (i >= t * sw && i - t * sw < kw)
                    sum[t] = _mm512_fmadd_ps(value, weight[i - t * sw], sum[t]);
        }
    }
    dwconv_avx512_store(at, l, x, c, sum, there, count);
}

/* `count` outputs from x on, all channels [c, c_end), by weights kw wide and steps of sw.  Checked: columns
 * beyond the image are left out. */
PCX_INLINE void dwconv_avx512_tile(const dwconv_line *at, size_t x, size_t c, size_t c_end, const int count,
                                   const int kw, const int sw, const int checked)
{
    const dwconv_line l = *at;
    uint32_t inside = 0;
    for (int i = 0; checked && i < (count - 1) * sw + kw; i++)
        inside |= (uint32_t)(x * sw - l.p->pl + i < l.p->iw) << i;
    for (; c + LANES <= c_end; c += LANES) /* a mask of ones is none: it would cost a tenth of the time */
        dwconv_avx512_vector(at, l, x, c, 0xffff, inside, count, kw, sw, checked);
    if (c < c_end)
        dwconv_avx512_vector(at, l, x, c, dwconv_avx512_there(c, c_end), inside, count, kw, sw, checked);
}

typedef void tile_fn(const dwconv_line *l, size_t x, size_t c, size_t c_end);
#define TILE(name, count, kw, sw, checked) \
    PCX_NOINLINE static void name(const dwconv_line *l, size_t x, size_t c, size_t c_end) \
    { \
        dwconv_avx512_tile(l, x, c, c_end, count, kw, sw, checked); \
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

static void dwconv_avx512_line_by_tiles(const dwconv_line *l, size_t c, size_t c_end)
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

/* One output, any geometry, nv vectors of channels, of each those of `there`. */
PCX_INLINE void dwconv_avx512_output(const dwconv_line *l, size_t x, size_t c, __mmask16 there, const int nv)
{
    const pcx_dwconv_args *p = l->p;
    const size_t left = x * p->sw - p->pl;
    const float *in = l->in;
    __m512 sum[MAX];
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        sum[v] = _mm512_setzero_ps();
    for (size_t ky = l->ky; ky < l->ky_end; ky++, in += l->step)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t ix = left + kx * p->dw;
            if (ix >= p->iw)
                continue;
            const float *value = in + ix * l->ldx + (c - l->c), *w = p->w + (ky * p->kw + kx) * p->c + c;
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                sum[v] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(there, value + v * LANES),
                                         _mm512_maskz_loadu_ps(there, w + v * LANES), sum[v]);
        }
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        dwconv_avx512_store(l, *l, x, c + v * LANES, sum + v, there, 1);
}

static void dwconv_avx512_line_by_outputs(const dwconv_line *l, size_t c, size_t c_end)
{
    for (; c + MAX * LANES <= c_end; c += MAX * LANES)
        for (size_t x = 0; x < l->p->ow; x++)
            dwconv_avx512_output(l, x, c, 0xffff, MAX);
    for (; c < c_end; c += LANES)
        for (size_t x = 0; x < l->p->ow; x++)
            dwconv_avx512_output(l, x, c, dwconv_avx512_there(c, c_end), 1);
}

static void dwconv_avx512_line(const dwconv_line *l, size_t c, size_t c_end)
{
    if (dwconv_line_has_tiles(l->p))
        dwconv_avx512_line_by_tiles(l, c, c_end);
    else
        dwconv_avx512_line_by_outputs(l, c, c_end);
}

void dwconv_avx512(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_dwconv_args *p = args;
    const split s = dwconv_avx512_split_of(p);
    (void)scratch;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t tile = unit / s.blocks, y = tile % s.tiles * s.lines, image = tile / s.tiles;
        const size_t y_end = min_size(y + s.lines, p->oh);
        const size_t c = unit % s.blocks * s.channels, c_end = min_size(c + s.channels, p->c);
        const dwconv_view v = { p->x + image * p->ih * p->iw * p->ldx + c, 0, p->ldx, c };
        for (size_t i = y; i < y_end; i++) {
            const dwconv_line l = dwconv_line_of(p, &v, image, i);
            dwconv_avx512_line(&l, c, c_end);
        }
    }
}

PCX_TARGET_END
#endif
