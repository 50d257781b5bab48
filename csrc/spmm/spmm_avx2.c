/*
 * spmm_avx2.c - a panel of up to 64 pixels is transposed into scratch, so that a nonzero is one broadcast times
 * neighbours; sums of 64 rows of w are kept in scratch, too, and transposed back by the epilogue.
 * Channel-first (CHW) images are read in place, and written directly from registers.
 */
#include "spmm.h"

#include "../common/act_avx2.h"
#include "spmm_transpose.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

#define TILE         dot
#define TILE_ONE     dot_one
#define TILE_REAL    float
#define TILE_INDEX   uint16_t
#define TILE_VECTOR  __m256
#define TILE_LOAD    _mm256_loadu_ps
#define TILE_BROADCAST _mm256_broadcast_ss
#define TILE_FMA     _mm256_fmadd_ps
#include "spmm_tile.h"

/* Prefetches the outputs of a block of rows, and the inputs of the next panel. */
typedef struct {
    const float *out;
    size_t ldo, pixels, columns;
    const char *next; /* the part that falls to this block */
    size_t bytes;
} spmm_ahead;

/* Part `part` of `parts`. */
PCX_INLINE void spmm_avx2_fetch(const spmm_ahead *to, size_t part, size_t parts)
{
    enum { LINE = 64 };
    for (size_t i = part; i < to->pixels; i += parts)
        for (size_t c = 0; c < to->columns; c += LINE / sizeof *to->out)
            _mm_prefetch((const char *)(to->out + i * to->ldo + c), _MM_HINT_T0);
    for (size_t i = part * LINE; i < to->bytes; i += parts * LINE)
        _mm_prefetch(to->next + i, _MM_HINT_T1);
}

/* A panel of pixels, channel by channel: in scratch, or in place, `stride` bytes apart. */
typedef struct {
    const char *at;
    size_t stride;
} spmm_panel;

/* Channel-first (CHW) outputs: of the panel's first pixel; the last vector lies `last` pixels after it. */
typedef struct {
    float *out;
    const float *residual;
    size_t last;
    __m256 low, high;
} spmm_chw;

/* Row r of w to its channel. */
PCX_INLINE void spmm_avx2_put(const pcx_spmm_args *p, const spmm_chw *to, size_t r, const __m256 *sum, const int nv)
{
    float *out = to->out + r * p->ldc;
    const float *residual = to->residual ? to->residual + r * p->lds : NULL;
    PCX_UNROLL
    for (int v = 0; v < nv; v++) { /* max and min return their second argument if one is NaN */
        const size_t at = v + 1 < nv ? (size_t)v * SPMM_LANES : to->last;
        const __m256 y = residual ? _mm256_add_ps(sum[v], _mm256_loadu_ps(residual + at)) : sum[v];
        _mm256_storeu_ps(out + at, _mm256_min_ps(to->high, _mm256_max_ps(to->low, y)));
    }
}

/*
 * sums[r - first][pixel] of the rows [first, last) of w, in one slice; the first slice begins at the bias.  Of the last
 * one they go to the outputs, if these are channel-first.
 */
PCX_INLINE void spmm_avx2_multiply(const pcx_spmm_args *p, size_t slice, size_t first, size_t last, const char *panel,
                                   const size_t stride, float *sums, const spmm_ahead *ahead, const spmm_chw *chw,
                                   const int nv)
{
    const spmm_chw *const to = slice + 1 == p->slices ? chw : NULL;
    const int32_t *rows = p->rows + slice * (p->n + 1);
    const uint16_t *index = p->index;
    const float *w = p->w, *bias = p->tail.bias;
    for (size_t r = first; r < last; r++, sums += nv * SPMM_LANES) {
        __m256 sum[SPMM_VECTORS];
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[v] = slice ? _mm256_loadu_ps(sums + v * SPMM_LANES) : bias ? _mm256_broadcast_ss(bias + r)
                                                                           : _mm256_setzero_ps();
        if (!slice)
            spmm_avx2_fetch(ahead, r - first, last - first);
        dot(w, index, (size_t)rows[r], (size_t)rows[r + 1], panel, stride, sum, nv);
        if (to) {
            spmm_avx2_put(p, to, r, sum, nv);
            continue;
        }
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            _mm256_storeu_ps(sums + v * SPMM_LANES, sum[v]);
    }
}

/* One vector of pixels: four rows of w at a time, as a single sum would wait for each FMA. */
PCX_NOINLINE static void spmm_avx2_multiply_1(const pcx_spmm_args *p, size_t slice, size_t first, size_t last,
                                              const spmm_panel *from, float *sums, const spmm_ahead *ahead,
                                              const spmm_chw *none)
{
    enum { ROWS = 4 };
    const int32_t *rows = p->rows + slice * (p->n + 1);
    const uint16_t *index = p->index;
    const float *w = p->w;
    const char *panel = from->at;
    size_t r = first;
    for (; r + ROWS <= last; r += ROWS, sums += ROWS * SPMM_LANES) {
        __m256 sum[ROWS];
        size_t at[ROWS], together = SIZE_MAX;
        PCX_UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            sum[i] = slice          ? _mm256_loadu_ps(sums + i * SPMM_LANES)
                       : p->tail.bias ? _mm256_broadcast_ss(p->tail.bias + r + i)
                                    : _mm256_setzero_ps();
            at[i] = (size_t)rows[r + i];
            together = min_size(together, max_size((size_t)rows[r + i + 1], at[i]) - at[i]);
        }
        for (size_t q = 0; q < together; q++) {
            PCX_UNROLL
            for (int i = 0; i < ROWS; i++, at[i - 1]++)
                dot_one(w + at[i], panel + index[at[i]] * sizeof(__m256), sum + i, 1);
        }
        PCX_UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            dot(w, index, at[i], (size_t)rows[r + i + 1], panel, sizeof(__m256), sum + i, 1);
            _mm256_storeu_ps(sums + i * SPMM_LANES, sum[i]);
        }
    }
    spmm_avx2_multiply(p, slice, r, last, panel, sizeof(__m256), sums, ahead, none, 1);
}

#define MULTIPLY(nv) \
    PCX_NOINLINE static void spmm_avx2_multiply_##nv(const pcx_spmm_args *p, size_t slice, size_t first, size_t last, \
                                           const spmm_panel *from, float *sums, const spmm_ahead *ahead, \
                                           const spmm_chw *chw) \
    { \
        if (from->stride == nv * sizeof(__m256)) /* known to the compiler, it is a shift */ \
            spmm_avx2_multiply(p, slice, first, last, from->at, nv * sizeof(__m256), sums, ahead, chw, nv); \
        else \
            spmm_avx2_multiply(p, slice, first, last, from->at, from->stride, sums, ahead, chw, nv); \
    }
MULTIPLY(2) MULTIPLY(3) MULTIPLY(4) MULTIPLY(5) MULTIPLY(6) MULTIPLY(7) MULTIPLY(8)

typedef void multiply_fn(const pcx_spmm_args *p, size_t slice, size_t first, size_t last, const spmm_panel *from,
                         float *sums, const spmm_ahead *ahead, const spmm_chw *chw);
static multiply_fn *const multiply_by[] = { NULL,
                                            spmm_avx2_multiply_1,
                                            spmm_avx2_multiply_2,
                                            spmm_avx2_multiply_3,
                                            spmm_avx2_multiply_4,
                                            spmm_avx2_multiply_5,
                                            spmm_avx2_multiply_6,
                                            spmm_avx2_multiply_7,
                                            spmm_avx2_multiply_8 };

/* The epilogues in registers: none, two bounds, hardswish; all others, and unusual strides, go through memory (FEW). */
enum { PLAIN, BOUNDS, HARDSWISH, SLOW, FEW };

/* The epilogue of eight pixels from `pixel` on and eight columns from `column` on; sums[c], `width` apart, are c's. */
PCX_INLINE void spmm_avx2_finish(const pcx_spmm_args *p, const float *sums, size_t width, size_t column, size_t pixel,
                                 const int how, __m256 low, __m256 high)
{
    const float *residual = p->tail.residual;
    float *out = p->out + pixel * p->ldo + column, part[SPMM_LANES * SPMM_LANES];
    __m256 t[SPMM_LANES];
    spmm_transpose_8x8(sums, width, t);
    if (residual) {
        residual += pixel * p->tail.ldr + column;
        PCX_UNROLL
        for (int i = 0; i < SPMM_LANES; i++, residual += p->tail.ldr)
            t[i] = _mm256_add_ps(t[i], _mm256_loadu_ps(residual));
    }
    if (how == SLOW) {
        PCX_UNROLL
        for (int i = 0; i < SPMM_LANES; i++)
            _mm256_storeu_ps(part + i * SPMM_LANES, t[i]);
        act_avx2_row(part, part, SPMM_LANES * SPMM_LANES, p->tail.act, p->tail.act_params);
    }
    PCX_UNROLL
    for (int i = 0; i < SPMM_LANES; i++, out += p->ldo) { /* max and min return their second argument if one is NaN */
        if (how == BOUNDS)
            t[i] = _mm256_min_ps(high, _mm256_max_ps(low, t[i]));
        else if (how == HARDSWISH)
            t[i] = act_avx2_apply(t[i], PCX_ACT_HARDSWISH, NULL);
        else if (how == SLOW)
            t[i] = _mm256_loadu_ps(part + i * SPMM_LANES);
        _mm256_storeu_ps(out, t[i]);
    }
}

/* The same for less than eight columns or pixels, and any strides. */
PCX_NOINLINE static void spmm_avx2_finish_few(const pcx_spmm_args *p, const float *sums, size_t width, size_t column,
                                              size_t columns, size_t pixel, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++) {
        float part[SPMM_LANES] = { 0 };
        for (size_t c = 0; c < columns; c++) {
            part[c] = sums[c * width + i];
            part[c] += p->tail.residual ? p->tail.residual[(pixel + i) * p->tail.ldr + (column + c) * p->lds] : 0;
        }
        act_avx2_row(part, part, SPMM_LANES, p->tail.act, p->tail.act_params);
        for (size_t c = 0; c < columns; c++)
            p->out[(pixel + i) * p->ldo + (column + c) * p->ldc] = part[c];
    }
}

/*
 * The epilogue of the rows [first, last) of w for a panel of pixels.  The last eight columns or pixels may overlap
 * those before: the same numbers come out.
 */
PCX_INLINE void spmm_avx2_finish_block(const pcx_spmm_args *p, const float *sums, size_t width, size_t first,
                                       size_t last, size_t pixel, size_t pixels, const int how)
{
    const size_t columns = last - first;
    float bounds[2];
    act_bounds(p->tail.act, p->tail.act_params, bounds, bounds + 1);
    const __m256 low = _mm256_set1_ps(bounds[0]), high = _mm256_set1_ps(bounds[1]);
    for (size_t at = 0; at < pixels; at += SPMM_LANES)
        for (size_t i = 0; i < columns; i += SPMM_LANES) {
            const size_t c = spmm_back(i, columns, SPMM_LANES), to = pixel + spmm_back(at, pixels, SPMM_LANES);
            if (PCX_LIKELY(how != FEW && columns >= SPMM_LANES && pixels >= SPMM_LANES))
                spmm_avx2_finish(p, sums + c * width + at, width, first + c, to, how, low, high);
            else
                spmm_avx2_finish_few(p, sums + c * width + at, width, first + c, min_size(SPMM_LANES, columns), to,
                                     min_size(SPMM_LANES, pixels));
        }
}

/* Whether outputs are channel-first, and registers can go there. */
static int spmm_avx2_to_planes(const pcx_spmm_args *p, size_t vectors)
{
    return p->ldo == 1 && p->ldc != 1 && (!p->tail.residual || p->tail.ldr == 1) && p->tail.act <= PCX_ACT_CLIP &&
           vectors > 1 && p->slices;
}

/* The epilogue that the arguments ask for. */
static void spmm_avx2_finish_all(const pcx_spmm_args *p, const float *sums, size_t width, size_t first, size_t last,
                                 size_t pixel, size_t pixels)
{
    if (p->ldc != 1 || (p->tail.residual && p->lds != 1))
        spmm_avx2_finish_block(p, sums, width, first, last, pixel, pixels, FEW);
    else if (p->tail.act == PCX_ACT_NONE)
        spmm_avx2_finish_block(p, sums, width, first, last, pixel, pixels, PLAIN);
    else if (p->tail.act <= PCX_ACT_CLIP)
        spmm_avx2_finish_block(p, sums, width, first, last, pixel, pixels, BOUNDS);
    else if (p->tail.act == PCX_ACT_HARDSWISH)
        spmm_avx2_finish_block(p, sums, width, first, last, pixel, pixels, HARDSWISH);
    else
        spmm_avx2_finish_block(p, sums, width, first, last, pixel, pixels, SLOW);
}

/* The rows [first, last) of w, at most SPMM_BLOCK, times the panel. */
static void spmm_avx2_block(const pcx_spmm_args *p, size_t first, size_t last, const spmm_panel *panel, float *sums,
                            size_t vectors, size_t pixel)
{
    enum { FAR = 1 << 18 }; /* floats that do not stay in an L2 cache */
    const size_t width = vectors * SPMM_LANES, pixels = min_size(width, p->m - pixel);
    const size_t after = min_size(width, p->m - pixel - pixels); /* pixels of the next panel */
    const size_t share = after * p->lda * sizeof *p->a / p->n; /* bytes for each row of w */
    spmm_ahead ahead = { 0 };
    spmm_chw chw = { p->out + pixel, p->tail.residual ? p->tail.residual + pixel : NULL, pixels - SPMM_LANES,
                           _mm256_setzero_ps(), _mm256_setzero_ps() };
    const int direct = spmm_avx2_to_planes(p, vectors);
    if (direct) {
        float low, high;
        act_bounds(p->tail.act, p->tail.act_params, &low, &high);
        chw.low = _mm256_set1_ps(low);
        chw.high = _mm256_set1_ps(high);
    } else if (p->m * (p->n + p->k) > FAR && p->ldk == 1 && p->ldc == 1) {
        const char *next = (const char *)(p->a + (pixel + pixels) * p->lda);
        ahead = (spmm_ahead){ p->out + pixel * p->ldo + first, p->ldo, pixels, last - first, next + first * share,
                              (last - first) * share };
    }
    if (!p->slices)
        for (size_t i = 0; i < (last - first) * width; i++)
            sums[i] = p->tail.bias ? p->tail.bias[first + i / width] : 0;
    for (size_t slice = 0; slice < p->slices; slice++)
        multiply_by[vectors](p, slice, first, last, panel, sums, &ahead, direct ? &chw : NULL);
    if (!direct)
        spmm_avx2_finish_all(p, sums, width, first, last, pixel, pixels);
}

/* The panel of `vectors` vectors from `pixel` on: in place if it is whole and channel-first; else in `scratch`. */
static spmm_panel spmm_avx2_panel_of(const pcx_spmm_args *p, size_t pixel, size_t vectors, float *scratch)
{
    const size_t width = vectors * SPMM_LANES, pixels = min_size(width, p->m - pixel);
    const float *a = p->a + pixel * p->lda;
    if (p->lda == 1 && p->ldk != 1 && pixels == width && vectors > 1)
        return (spmm_panel){ (const char *)a, p->ldk * sizeof *a };
    if (p->ldk == 1) {
        spmm_transpose_in(a, p->lda, pixels, scratch, width, p->k);
    } else if (p->lda == 1 && pixels >= SPMM_LANES) {
        for (size_t q = 0; q < p->k; q++)
            for (size_t i = 0; i < width; i += SPMM_LANES)
                _mm256_store_ps(scratch + q * width + i,
                                _mm256_loadu_ps(a + q * p->ldk + spmm_back(i, pixels, SPMM_LANES)));
    } else {
        for (size_t q = 0; q < p->k; q++)
            for (size_t i = 0; i < width; i++) {
                const size_t at = spmm_back(i / SPMM_LANES * SPMM_LANES, pixels, SPMM_LANES) + i % SPMM_LANES;
                scratch[q * width + i] = a[min_size(at, pixels - 1) * p->lda + q * p->ldk];
            }
    }
    return (spmm_panel){ (const char *)scratch, width * sizeof *a };
}

size_t spmm_units_avx2(const void *args)
{
    const pcx_spmm_args *p = args;
    const spmm_split s = spmm_split_of(p->m, p->n, p->nnz);
    return s.panels * s.groups;
}

size_t spmm_scratch_avx2(const void *args)
{
    const pcx_spmm_args *p = args;
    const size_t vectors = min_size(SPMM_VECTORS, ceil_div(p->m, SPMM_LANES));
    return vectors * sizeof(__m256) * (SPMM_BLOCK + p->k);
}

void spmm_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_spmm_args *p = args;
    const spmm_split s = spmm_split_of(p->m, p->n, p->nnz);
    for (size_t unit = begin, stop; unit < end; unit = stop) { /* up to `stop`, units share a panel */
        const size_t which = unit / s.groups, at = spmm_vector(&s, which), pixel = at * SPMM_LANES;
        const size_t vectors = spmm_vector(&s, which + 1) - at, width = vectors * SPMM_LANES;
        float *sums = scratch;
        const spmm_panel panel = spmm_avx2_panel_of(p, pixel, vectors, sums + SPMM_BLOCK * width);
        stop = min_size(end, (which + 1) * s.groups);
        const size_t first = unit % s.groups * s.rows, last = min_size(first + (stop - unit) * s.rows, p->n);
        for (size_t row = first; row < last; row += SPMM_BLOCK)
            spmm_avx2_block(p, row, min_size(row + SPMM_BLOCK, last), &panel, sums, vectors, pixel);
    }
}

PCX_TARGET_END
#endif
