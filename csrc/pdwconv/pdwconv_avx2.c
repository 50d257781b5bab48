/*
 * pdwconv_avx2.c - tiles of 8 neighbouring outputs of a line times several lines: a vector of the image, once
 * loaded, meets every output line whose window holds it.  Square windows of 3 and 5 that step by 1 or 2 have such
 * tiles; any other geometry goes tap by tap.
 */
#include "pdwconv.h"

#include "../runtime/act_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

/*
 * Lines of a tile: 7 divides the heights of the usual images.  REACH lines of the image meet the most.  At most
 * EDGES vectors of a line may reach beyond the image, by at most LOADS loads for each line.
 */
enum { LANES = 8, MOST = 7, FEWER = 4, REACH = 11, EDGES = 4, LOADS = 6 };

typedef int32_t mask[LOADS][LANES]; /* -1: load this float, it is inside the image */

/* What all planes share. */
typedef struct {
    const pcx_pdwconv_args *p;
    size_t k, stride, most;  /* square window; lines of the tallest tile */
    size_t lines[2 * MOST + 1], out_lines[MOST]; /* where a tile's lines begin */
    size_t vectors;          /* of an output line, the last one shifted left to end with it */
    size_t first, last;      /* vectors [first, last) read within the image and write whole vectors */
    mask masks[EDGES + 1];   /* of the vectors on the left and right; the last one: everything */
    float least, greatest;
    int slow;                /* what follows the sum is more than bounds */
} frame;

/* A tile: its window begins at `in`, perhaps beyond the image; bit i of `there` is set if line i is inside. */
typedef struct {
    const float *in, *w;
    const float *bias;
    float *out;
    size_t room; /* floats from `out` to the plane's end */
    uint32_t there;
} place;

static size_t vector_at(const pcx_pdwconv_args *p, size_t v)
{
    return p->ow < LANES ? 0 : min_size(v * LANES, p->ow - LANES);
}

static const unsigned char offsets[2][2][LOADS] = { /* of the loads from a line, by window and stride */
    { { 0, 1, 2 }, { 0, 8, 1, 9 } },
    { { 0, 1, 2, 3, 4 }, { 0, 8, 2, 10, 3, 11 } },
};

/* Whether vector v needs masks. */
static int is_edge(const frame *f, size_t v)
{
    const pcx_pdwconv_args *p = f->p;
    const size_t left = vector_at(p, v) * p->sw, end = (LANES - 1) * f->stride + f->k;
    return p->ow < LANES || left < p->pl || left - p->pl + end > p->iw;
}

static void mask_of(const frame *f, size_t v, mask m)
{
    const pcx_pdwconv_args *p = f->p;
    for (size_t i = 0; i < LOADS; i++)
        for (size_t j = 0; j < LANES; j++) {
            const size_t x = vector_at(p, v) * p->sw - p->pl + offsets[f->k == 5][f->stride == 2][i] + j;
            m[i][j] = x < p->iw ? -1 : 0; /* left of the image it is huge */
        }
}

/* Whether there are tiles for this geometry; if so, *f. */
static int frame_of(const pcx_pdwconv_args *p, frame *f)
{
    if (p->kh != p->kw || (p->kw != 3 && p->kw != 5) || p->sh != p->sw || p->sw > 2 || p->dh != 1 || p->dw != 1)
        return 0;
    f->p = p;
    f->k = p->kw;
    f->stride = p->sw;
    f->most = f->k == 5 && f->stride == 2 ? FEWER : MOST;
    f->vectors = ceil_div(p->ow, LANES);
    size_t edges = 0;
    for (f->first = 0; f->first < f->vectors && is_edge(f, f->first); f->first++) {
        if (edges == EDGES)
            return 0;
        mask_of(f, f->first, f->masks[edges++]);
    }
    for (f->last = f->vectors; f->last > f->first && is_edge(f, f->last - 1); f->last--)
        if (edges + f->vectors - f->last == EDGES)
            return 0;
    for (size_t v = f->last; v < f->vectors; v++)
        mask_of(f, v, f->masks[edges++]);
    memset(f->masks[EDGES], 255, sizeof(mask));
    for (size_t i = 0; i < 2 * MOST + 1; i++)
        f->lines[i] = i * p->iw;
    for (size_t i = 0; i < MOST; i++)
        f->out_lines[i] = i * p->ow;
    f->slow = p->residual || p->act > PCX_ACT_CLIP;
    f->least = -INFINITY, f->greatest = INFINITY;
    if (!f->slow)
        pcx_act_bounds(p->act, p->act_params, &f->least, &f->greatest);
    return 1;
}

/* The last output lines of planes narrower than a vector. */
PCX_NOINLINE static void store_part(float *out, __m256 y, size_t count)
{
    float buffer[LANES];
    _mm256_storeu_ps(buffer, y);
    memcpy(out, buffer, count * sizeof(float));
}

/* Line r of a tile.  In a narrow plane what is written beyond the line is overwritten by the next line. */
PCX_INLINE void store(const frame *f, const place *at, float *out, const int r, __m256 sum, const int checked)
{
    const __m256 least = _mm256_set1_ps(f->least), greatest = _mm256_set1_ps(f->greatest);
    const size_t to = f->out_lines[r];
    const __m256 y = _mm256_min_ps(greatest, _mm256_max_ps(least, sum)); /* the second argument if one is NaN */
    if (checked && to + LANES > at->room)
        store_part(out + to, y, at->room - to < f->p->ow ? at->room - to : f->p->ow);
    else
        _mm256_storeu_ps(out + to, y);
}

PCX_INLINE __m256 load(const float *x, const int offset, const mask m, const int i, const int checked)
{
    return checked ? _mm256_maskload_ps(x + offset, _mm256_loadu_si256((const __m256i *)(const void *)m[i]))
                   : _mm256_loadu_ps(x + offset);
}

/* Every second float of two vectors, the even or the odd ones, as 0 1 4 5 2 3 6 7; and back. */
#define EVEN(a, b) _mm256_shuffle_ps(a, b, 0x88)
#define ODD(a, b) _mm256_shuffle_ps(a, b, 0xdd)
PCX_INLINE __m256 in_order(__m256 v)
{
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}

/* `count` tiles of neighbouring vectors; the nine weights stay in registers. */
PCX_INLINE void tiles_3(const frame *f, const place *at, size_t count, const mask m, const int rows, const int stride,
                        const int checked)
{
    const float *in = at->in;
    float *out = at->out;
    const __m256 bias = at->bias ? _mm256_broadcast_ss(at->bias) : _mm256_setzero_ps();
    const uint32_t there = at->there;
    __m256 w[9];
    PCX_UNROLL
    for (int i = 0; i < 9; i++)
        w[i] = _mm256_broadcast_ss(at->w + i);
    for (; count; count--, in += LANES * stride, out += LANES) {
        __m256 sum[MOST];
        PCX_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r] = bias;
        PCX_UNROLL
        for (int i = 0; i < (rows - 1) * stride + 3; i++) {
            if (!checked || there >> i & 1) {
                const float *x = in + f->lines[i];
                __m256 tap[3];
                if (stride == 1) {
                    PCX_UNROLL
                    for (int kx = 0; kx < 3; kx++)
                        tap[kx] = load(x, kx, m, kx, checked);
                } else {
                    const __m256 a = load(x, 0, m, 0, checked), b = load(x, 8, m, 1, checked);
                    tap[0] = EVEN(a, b);
                    tap[1] = ODD(a, b);
                    tap[2] = ODD(load(x, 1, m, 2, checked), load(x, 9, m, 3, checked));
                }
                PCX_UNROLL
                for (int r = 0; r < rows; r++)
                    PCX_UNROLL
                    for (int kx = 0; kx < 3; kx++)
                        if (i - r * stride >= 0 && i - r * stride < 3)
                            PCX_FMADD(sum[r], tap[kx], w[(i - r * stride) * 3 + kx]);
            }
            const int r = (i - 2) / stride;
            if (i >= 2 && r * stride == i - 2)
                store(f, at, out, r, stride == 1 ? sum[r] : in_order(sum[r]), checked);
        }
    }
}

/* sum += one column of weights times the lines' taps at `kx`; stride 2: of columns kx and kx + 1, if `both`. */
PCX_INLINE void column_5(const frame *f, const place *at, const float *in, const mask m, __m256 *sum, size_t kx,
                         const int rows, const int stride, const int both, const int checked)
{
    const uint32_t there = at->there;
    const float *weights = at->w + kx;
    __m256 w[10];
    PCX_UNROLL
    for (int i = 0; i < 5; i++) {
        w[i] = _mm256_broadcast_ss(weights + 5 * i);
        if (both)
            w[5 + i] = _mm256_broadcast_ss(weights + 5 * i + 1);
    }
    PCX_UNROLL
    for (int i = 0; i < (rows - 1) * stride + 5; i++) {
        if (checked && !(there >> i & 1))
            continue;
        const float *x = in + f->lines[i];
        __m256 tap, next = _mm256_setzero_ps();
        if (stride == 1) {
            tap = load(x + kx, 0, m, (int)kx, checked);
        } else {
            const float *from = x + kx - !both;
            const __m256 a = load(from, 0, m, (int)kx, checked), b = load(from, 8, m, (int)kx + 1, checked);
            tap = both ? EVEN(a, b) : ODD(a, b);
            next = ODD(a, b);
        }
        PCX_UNROLL
        for (int r = 0; r < rows; r++)
            if (i - r * stride >= 0 && i - r * stride < 5) {
                PCX_FMADD(sum[r], tap, w[i - r * stride]);
                if (both)
                    PCX_FMADD(sum[r], next, w[5 + i - r * stride]);
            }
    }
}

/* The same for windows of 5: their weights, column by column, are in registers. */
PCX_INLINE void tiles_5(const frame *f, const place *at, size_t count, const mask m, const int rows, const int stride,
                        const int checked)
{
    const float *in = at->in;
    float *out = at->out;
    for (; count; count--, in += LANES * stride, out += LANES) {
        const __m256 bias = at->bias ? _mm256_broadcast_ss(at->bias) : _mm256_setzero_ps();
        __m256 sum[MOST];
        PCX_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r] = bias;
        if (stride == 1) {
            for (size_t kx = 0; kx < 5; kx++)
                column_5(f, at, in, m, sum, kx, rows, 1, 0, checked);
        } else {
            for (size_t kx = 0; kx < 4; kx += 2)
                column_5(f, at, in, m, sum, kx, rows, 2, 1, checked);
            column_5(f, at, in, m, sum, 4, rows, 2, 0, checked);
        }
        PCX_UNROLL
        for (int r = 0; r < rows; r++)
            store(f, at, out, r, stride == 1 ? sum[r] : in_order(sum[r]), checked);
    }
}

typedef void tiles_fn(const frame *f, const place *at, size_t count, const mask m);
#define TILES(name, k, rows, stride, checked) \
    PCX_NOINLINE static void name(const frame *f, const place *at, size_t count, const mask m) \
    { \
        tiles_##k(f, at, count, m, rows, stride, checked); \
    }
#define PAIR(k, stride, rows) \
    TILES(inside_##k##s##stride##x##rows, k, rows, stride, 0) \
    TILES(checked_##k##s##stride##x##rows, k, rows, stride, 1)
#define HEIGHTS(k, stride) PAIR(k, stride, 7) PAIR(k, stride, 4) PAIR(k, stride, 1)
HEIGHTS(3, 1)
HEIGHTS(3, 2)
HEIGHTS(5, 1)
PAIR(5, 2, 4)
PAIR(5, 2, 1)
#define ROW(k, stride, rows) { inside_##k##s##stride##x##rows, checked_##k##s##stride##x##rows }
static tiles_fn *const tiles[2][2][3][2] = { /* by window, stride, lines */
    { { ROW(3, 1, 1), ROW(3, 1, 4), ROW(3, 1, 7) }, { ROW(3, 2, 1), ROW(3, 2, 4), ROW(3, 2, 7) } },
    { { ROW(5, 1, 1), ROW(5, 1, 4), ROW(5, 1, 7) }, { ROW(5, 2, 1), ROW(5, 2, 4) } },
};

/* out = act(out + residual): `count` floats of plane c from `at` on, which were just written. */
PCX_NOINLINE static void activate(const pcx_pdwconv_args *p, size_t c, size_t at, size_t count)
{
    float *out = p->out + c * p->ldo + at;
    const size_t full = count / LANES * LANES;
    if (p->residual) {
        const float *r = p->residual + c * p->ldr + at;
        PCX_IVDEP
        for (size_t i = 0; i < count; i++)
            out[i] += r[i];
    }
    pcx_act_row_avx2(out, out, full, p->act, p->act_params);
    if (full < count) {
        float rest[LANES] = { 0 };
        memcpy(rest, out + full, (count - full) * sizeof(float));
        pcx_act_row_avx2(rest, rest, LANES, p->act, p->act_params);
        memcpy(out + full, rest, (count - full) * sizeof(float));
    }
}

/* Lines [y, y + rows) of plane c. */
static void lines_by_tiles(const frame *f, size_t c, size_t y, size_t rows)
{
    const pcx_pdwconv_args *p = f->p;
    tiles_fn *const *set = tiles[f->k == 5][f->stride == 2][rows == MOST ? 2 : rows == FEWER];
    const size_t reach = (rows - 1) * f->stride + f->k, top = y * f->stride;
    const size_t above = top < p->pt ? min_size(p->pt - top, reach) : 0;
    const size_t end = top < p->ih + p->pt ? min_size(p->ih + p->pt - top, reach) : 0;
    const uint32_t there = end > above ? (1u << end) - (1u << above) : 0;
    const int whole = there == (1u << reach) - 1;
    const float *in = p->x + c * p->ldx + ((ptrdiff_t)top - (ptrdiff_t)p->pt) * (ptrdiff_t)p->iw - (ptrdiff_t)p->pl;
    float *out = p->out + c * p->ldo + y * p->ow;
    place at = { in, p->w + c * f->k * f->k, p->bias ? p->bias + c : NULL, out, 0, there };
    for (size_t v = 0, e = 0; v < f->vectors;) {
        const size_t x = vector_at(p, v), shifted = vector_at(p, f->last - 1) % LANES != 0;
        const int edge = v < f->first || v >= f->last;
        size_t count = 1;
        if (!edge && v + 1 < f->last)
            count = f->last - v - shifted; /* the last vector may lie off the grid of the others */
        at.in = in + x * f->stride;
        at.out = out + x;
        at.room = (p->oh - y) * p->ow - x;
        set[edge || !whole](f, &at, count, f->masks[edge ? e++ : EDGES]);
        v += count;
    }
}

static void plane_by_tiles(const frame *f, size_t c)
{
    const size_t oh = f->p->oh;
    for (size_t y = 0; y < oh;) {
        const size_t rest = oh - y;
        size_t rows = 1;
        if (oh >= f->most && (rest >= f->most || rest > FEWER))
            rows = f->most;
        else if (oh >= FEWER)
            rows = FEWER;
        y = min_size(y, oh - rows); /* some lines are computed twice rather than one by one */
        lines_by_tiles(f, c, y, rows);
        if (f->slow)
            activate(f->p, c, y * f->p->ow, rows * f->p->ow);
        y += rows;
    }
}

/* What tap (ky, kx) of 8 outputs from x on meets; the line of the image is `in`. */
static __m256 tap_of(const pcx_pdwconv_args *p, const float *in, size_t x, size_t kx)
{
    const size_t left = x * p->sw + kx * p->dw - p->pl;
    if (p->sw == 1 && left < p->iw && left + LANES <= p->iw)
        return _mm256_loadu_ps(in + left);
    float tap[LANES];
    for (size_t j = 0; j < LANES; j++)
        tap[j] = left + j * p->sw < p->iw ? in[left + j * p->sw] : 0;
    return _mm256_loadu_ps(tap);
}

static void plane_by_taps(const pcx_pdwconv_args *p, size_t c)
{
    const float *w = p->w + c * p->kh * p->kw;
    for (size_t y = 0; y < p->oh; y++) {
        for (size_t x = 0; x < p->ow; x += LANES) {
            __m256 sum = _mm256_set1_ps(p->bias ? p->bias[c] : 0);
            for (size_t ky = 0; ky < p->kh; ky++) {
                const size_t iy = y * p->sh + ky * p->dh - p->pt;
                if (iy >= p->ih)
                    continue;
                for (size_t kx = 0; kx < p->kw; kx++)
                    sum = _mm256_fmadd_ps(tap_of(p, p->x + c * p->ldx + iy * p->iw, x, kx),
                                          _mm256_broadcast_ss(w + ky * p->kw + kx), sum);
            }
            store_part(p->out + c * p->ldo + y * p->ow + x, sum, min_size(LANES, p->ow - x));
        }
        activate(p, c, y * p->ow, p->ow);
    }
}

void pdwconv_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_pdwconv_args *p = args;
    const size_t planes = pdwconv_planes(p), last = min_size(end * planes, p->c);
    frame f;
    const int has_tiles = frame_of(p, &f);
    (void)scratch;
    for (size_t c = begin * planes; c < last; c++)
        if (has_tiles)
            plane_by_tiles(&f, c);
        else
            plane_by_taps(p, c);
}

PCX_TARGET_END
#endif
