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
enum { LANES = 8, MOST = 7, FEWER = 4, REACH = 17, EDGES = 4, LOADS = 6 };

typedef int32_t mask[LOADS][LANES]; /* -1: load this float, it is inside the image */

/* What all planes share. */
typedef struct {
    const pcx_pdwconv_args *p;
    size_t k, stride;        /* square window */
    size_t lines[REACH], out_lines[MOST]; /* where a tile's lines begin */
    size_t vectors;          /* of an output line, the last one shifted left to end with it */
    size_t first, last;      /* vectors [first, last) read within the image and write whole vectors */
    mask masks[EDGES + 1];   /* of the vectors on the left and right; the last one: everything */
    int32_t part[LANES];     /* of the line, where it is narrower than a vector */
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
    for (size_t j = 0; j < LANES; j++)
        f->part[j] = j < p->ow ? -1 : 0;
    for (size_t i = 0; i < REACH; i++)
        f->lines[i] = i * p->iw;
    for (size_t i = 0; i < MOST; i++)
        f->out_lines[i] = i * p->ow;
    f->slow = p->residual || p->act > PCX_ACT_CLIP;
    f->least = -INFINITY, f->greatest = INFINITY;
    if (!f->slow)
        pcx_act_bounds(p->act, p->act_params, &f->least, &f->greatest);
    return 1;
}

/* Line r of a tile.  In a narrow plane what is written beyond the line is overwritten by the next line. */
PCX_INLINE void store(const frame *f, const place *at, float *out, const int r, __m256 sum, __m256 least,
                      __m256 greatest, const int checked)
{
    const size_t to = f->out_lines[r];
    const __m256 y = _mm256_min_ps(greatest, _mm256_max_ps(least, sum)); /* the second argument if one is NaN */
    if (checked && to + LANES > at->room)
        _mm256_maskstore_ps(out + to, _mm256_loadu_si256((const __m256i *)(const void *)f->part), y);
    else
        _mm256_storeu_ps(out + to, y);
}

PCX_INLINE __m256 load(const float *x, const int32_t *m, const int checked)
{
    return checked ? _mm256_maskload_ps(x, _mm256_loadu_si256((const __m256i *)(const void *)m)) : _mm256_loadu_ps(x);
}

/* Every second float of two vectors, the even or the odd ones, as 0 1 4 5 2 3 6 7; and back. */
#define EVEN(a, b) _mm256_shuffle_ps(a, b, 0x88)
#define ODD(a, b) _mm256_shuffle_ps(a, b, 0xdd)
PCX_INLINE __m256 in_order(__m256 v)
{
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}

/*
 * sum += a column of weights times the lines' taps.  Column by column, since then consecutive sums depend on each
 * other less: a CPU finds all the sums of a tile, not only three, within the instructions that it sees at a time.
 * Stride 2: taps kx and kx + 1, if `both`.  The loads are numbers i and i + 1 of `offsets`.
 */
PCX_INLINE void column(const frame *f, const place *at, const float *in, const mask m, __m256 *sum, const int k,
                       size_t kx, size_t i0, const int rows, const int stride, const int both, const int checked)
{
    const uint32_t there = at->there;
    const float *weights = at->w + kx;
    in += offsets[k == 5][stride == 2][i0];
    __m256 w[5], w1[5];
    PCX_UNROLL
    for (int i = 0; i < k; i++) {
        w[i] = _mm256_broadcast_ss(weights + k * i);
        if (both)
            w1[i] = _mm256_broadcast_ss(weights + k * i + 1);
    }
    PCX_UNROLL
    for (int i = 0; i < (rows - 1) * stride + k; i++) {
        if (checked && !(there >> i & 1))
            continue;
        const float *x = in + f->lines[i];
        __m256 tap = load(x, m[i0], checked), next = tap;
        if (stride == 2) {
            const __m256 more = load(x + LANES, m[i0 + 1], checked);
            next = ODD(tap, more);
            tap = kx % 2 == 0 && kx + 1 < (size_t)k ? EVEN(tap, more) : next; /* the last ones from one before */
        }
        PCX_UNROLL
        for (int r = 0; r < rows; r++)
            if (i - r * stride >= 0 && i - r * stride < k) {
                PCX_FMADD(sum[r], tap, w[i - r * stride]);
                if (both)
                    PCX_FMADD(sum[r], next, w1[i - r * stride]);
            }
    }
}

/* `count` tiles of neighbouring vectors. */
PCX_INLINE void tiles_of(const frame *f, const place *at, size_t count, const mask m, const int k, const int rows,
                         const int stride, const int checked)
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
            PCX_UNROLL
            for (size_t kx = 0; kx < (size_t)k; kx++)
                column(f, at, in, m, sum, k, kx, kx, rows, 1, 0, checked);
        } else if (k == 3) {
            column(f, at, in, m, sum, 3, 0, 0, rows, 2, 1, checked);
            column(f, at, in, m, sum, 3, 2, 2, rows, 2, 0, checked);
        } else {
            column(f, at, in, m, sum, 5, 0, 0, rows, 2, 0, checked);
            column(f, at, in, m, sum, 5, 1, 0, rows, 2, 0, checked);
            column(f, at, in, m, sum, 5, 2, 2, rows, 2, 0, checked);
            column(f, at, in, m, sum, 5, 3, 2, rows, 2, 0, checked);
            column(f, at, in, m, sum, 5, 4, 4, rows, 2, 0, checked);
        }
        const __m256 least = _mm256_set1_ps(f->least), greatest = _mm256_set1_ps(f->greatest);
        PCX_UNROLL
        for (int r = 0; r < rows; r++)
            store(f, at, out, r, stride == 1 ? sum[r] : in_order(sum[r]), least, greatest, checked);
    }
}

typedef void tiles_fn(const frame *f, const place *at, size_t count, const mask m);
#define TILES(name, k, rows, stride, checked) \
    PCX_NOINLINE static void name(const frame *f, const place *at, size_t count, const mask m) \
    { \
        tiles_of(f, at, count, m, k, rows, stride, checked); \
    }
#define PAIR(k, stride, rows) \
    TILES(inside_##k##s##stride##x##rows, k, rows, stride, 0) \
    TILES(checked_##k##s##stride##x##rows, k, rows, stride, 1)
#define HEIGHTS(k, stride) PAIR(k, stride, 7) PAIR(k, stride, 4) PAIR(k, stride, 1)
HEIGHTS(3, 1)
HEIGHTS(3, 2)
HEIGHTS(5, 1)
HEIGHTS(5, 2)
#define ROW(k, stride, rows) { inside_##k##s##stride##x##rows, checked_##k##s##stride##x##rows }
static tiles_fn *const tiles[2][2][3][2] = { /* by window, stride, lines */
    { { ROW(3, 1, 1), ROW(3, 1, 4), ROW(3, 1, 7) }, { ROW(3, 2, 1), ROW(3, 2, 4), ROW(3, 2, 7) } },
    { { ROW(5, 1, 1), ROW(5, 1, 4), ROW(5, 1, 7) }, { ROW(5, 2, 1), ROW(5, 2, 4), ROW(5, 2, 7) } },
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
        if (oh >= MOST && rest > FEWER)
            rows = MOST;
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
            float buffer[LANES];
            _mm256_storeu_ps(buffer, sum);
            memcpy(p->out + c * p->ldo + y * p->ow + x, buffer, min_size(LANES, p->ow - x) * sizeof(float));
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
