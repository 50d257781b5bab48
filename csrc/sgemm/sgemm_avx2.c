/* sgemm_avx2.c - tiles of up to 6 rows x 16 columns: 12 sums, 2 weights and a broadcast fill the 16 registers. */
#include "sgemm.h"

#include "../runtime/act_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

enum { LANES = 8, WIDE_ROWS = 4, MOST = 8 }; /* MOST vectors of columns in a tile */

/* Bias and bounds of a tile, in registers.  max and min return their second argument if one is NaN. */
typedef struct {
    __m256 bias[MOST], least, greatest;
} finisher;

PCX_INLINE finisher finisher_of(const pcx_epilogue *tail, size_t column, const int nv)
{
    finisher f;
    float least, greatest;
    pcx_act_bounds(tail->act, tail->act_params, &least, &greatest);
    f.least = _mm256_set1_ps(least);
    f.greatest = _mm256_set1_ps(greatest);
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        f.bias[v] = tail->bias ? _mm256_loadu_ps(tail->bias + column + v * LANES) : _mm256_setzero_ps();
    return f;
}

/* act(sum + bias + residual) for the activations that are bounds; the others come after it. */
PCX_INLINE __m256 finish(__m256 sum, const finisher *f, const float *residual, int v)
{
    sum = _mm256_add_ps(sum, f->bias[v]);
    if (residual)
        sum = _mm256_add_ps(sum, _mm256_loadu_ps(residual + v * LANES));
    return _mm256_min_ps(f->greatest, _mm256_max_ps(f->least, sum));
}

/* Finish a tile into `out`, rows `ldo` apart: row out_row[i] if given, else row i. */
PCX_INLINE void finish_tile(const pcx_epilogue *tail, const size_t *row, size_t column, __m256 sum[][MOST],
                            float *out, const size_t *out_row, size_t ldo, const int mr, const int nv)
{
    const finisher f = finisher_of(tail, column, nv);
    const float *residual = tail->residual;
    const size_t ldr = tail->ldr;
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            _mm256_storeu_ps(out + (out_row ? out_row[i] : (size_t)i) * ldo + v * LANES,
                             finish(sum[i][v], &f, residual ? residual + row[i] * ldr + column : NULL, v));
    }
}

/* Activate a tile of mr x width, and write it. */
PCX_NOINLINE static void activate(const sgemm_target *to, const size_t *row, size_t column, const float *x, size_t mr,
                                  size_t width)
{
    const pcx_epilogue *tail = to->tail;
    for (size_t i = 0; i < mr; i++)
        pcx_act_row_avx2(to->out + row[i] * to->ldo + column, x + i * width, width, tail->act, tail->act_params);
}

/* Write mr rows x nv vectors of sums; `columns` of them exist. */
PCX_INLINE void store(const sgemm_target *to, const size_t *row, size_t column, size_t columns, __m256 sum[][MOST],
                      const int mr, const int nv)
{
    float buffer[SGEMM_TALL * 2 * LANES]; /* the tile of the most vectors */
    if (PCX_LIKELY(columns >= (size_t)nv * LANES)) {
        if (PCX_LIKELY(to->tail->act <= PCX_ACT_CLIP)) {
            finish_tile(to->tail, row, column, sum, to->out + column, row, to->ldo, mr, nv);
        } else {
            finish_tile(to->tail, row, column, sum, buffer, NULL, nv * LANES, mr, nv);
            activate(to, row, column, buffer, mr, nv * LANES);
        }
        return;
    }
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            _mm256_storeu_ps(buffer + (i * nv + v) * LANES, sum[i][v]);
    }
    sgemm_finish(to, row, mr, column, columns, buffer, nv * LANES);
}

/* One number of each row times a row of the panels. */
PCX_INLINE void step(const float *const *a, const float **b, size_t at, __m256 sum[][MOST], const int mr,
                     const int nv)
{
    __m256 w[MOST];
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        w[v] = _mm256_loadu_ps(b[v / 2] + v % 2 * LANES);
    PCX_UNROLL
    for (int v = 0; v < nv; v += 2)
        b[v / 2] += SGEMM_NR;
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        const __m256 x = _mm256_broadcast_ss(a[i] + at);
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[i][v] = _mm256_fmadd_ps(x, w[v], sum[i][v]);
    }
}

/* One tile: rows from `first` on, nv vectors of columns from panel `panel` on. */
PCX_INLINE void tile(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t panel, const int mr,
                     const int nv)
{
    const size_t column = panel * SGEMM_NR;
    const float *a[SGEMM_TALL], *b[MOST / 2];
    __m256 sum[SGEMM_TALL][MOST];
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        a[i] = r->a[first + i];
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[i][v] = _mm256_setzero_ps();
    }
    PCX_UNROLL
    for (int v = 0; v < nv; v += 2)
        b[v / 2] = to->w + (panel + v / 2) * to->ldw;
    for (size_t line = 0; line < r->lines; line++)
        for (size_t run = 0; run < r->runs; run++) {
            size_t at = line * r->line_step + run * r->run_step;
            const size_t end = at + r->length;
            for (; nv == 2 && at + 2 <= end; at += 2) { /* other shapes would spill */
                step(a, b, at, sum, mr, nv);
                step(a, b, at + 1, sum, mr, nv);
            }
            for (; at < end; at++)
                step(a, b, at, sum, mr, nv);
        }
    store(to, r->row + first, column, to->n - column, sum, mr, nv);
}

#define TILE(mr, nv) \
    PCX_NOINLINE static void tile_##mr##x##nv(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t panel) \
    { \
        tile(r, first, to, panel, mr, nv); \
    }
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)
TILE(1, 3) TILE(2, 3) TILE(3, 3) TILE(4, 3)
TILE(1, 8) TILE(2, 4) TILE(3, 4)

typedef void tile_fn(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t panel);
static tile_fn *const plain[] = { NULL, tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2 };
static tile_fn *const wide[] = { NULL, tile_1x3, tile_2x3, tile_3x3, tile_4x3 };
static tile_fn *const flat[] = { NULL, tile_1x8, tile_2x4, tile_3x4 }; /* few rows: sums enough for the latency */
static const size_t flat_panels[] = { 0, 4, 2, 2 };

/* Bring a part of the panels [begin, end) closer, `bytes` each: of large weights all but the next come from afar. */
static void fetch(const sgemm_target *to, size_t begin, size_t end, size_t bytes, size_t part, size_t parts)
{
    enum { LINE = 64 };
    for (size_t panel = begin; panel < end; panel++) {
        const char *w = (const char *)(to->w + panel * to->ldw);
        for (size_t at = bytes / LINE * part / parts * LINE; at < bytes / LINE * (part + 1) / parts * LINE; at += LINE)
            _mm_prefetch(w + at, _MM_HINT_T1);
    }
}

/*
 * All rows times the panels [begin, end), in tiles as equal as can be: 49 rows are 4 x 6 + 5 x 5, not
 * 8 x 6 + 1.  A tile of rows meets all panels, which should fit the L1 cache, before the next.  Panels
 * up to `fetched` are needed next.
 */
static void columns(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end, size_t fetched, size_t bytes,
                    size_t step, tile_fn *const *tiles, size_t tall)
{
    const size_t count = ceil_div(r->count, tall), less = count ? r->count / count : 0;
    for (size_t t = 0, i = 0, more = r->count - less * count; i < r->count; t++) {
        const size_t rows = less + (more > 0);
        fetch(to, end, fetched, bytes, t, count);
        for (size_t panel = begin; panel < end; panel += step)
            tiles[rows](r, i, to, panel);
        i += rows;
        more -= more > 0;
    }
}

void sgemm_rows_avx2(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end)
{
    enum { CACHE = 16384 }; /* bytes of panels */
    const size_t panels = ceil_div(to->n, SGEMM_NR), rest = to->n % SGEMM_NR;
    const size_t bytes = r->lines * r->runs * r->length * SGEMM_NR * sizeof(float);
    const size_t at_once = max_size(1, CACHE / (bytes + 1));
    size_t panel = begin;
    if (r->count && r->count <= 3) {
        const size_t step = flat_panels[r->count];
        for (; panel + step <= end; panel += step)
            flat[r->count](r, 0, to, panel);
    }
    const size_t pair = rest && rest <= LANES && end == panels && panel + 2 <= end ? 2 : 0;
    while (panel + pair < end) {
        const size_t next = min_size(end - pair, panel + at_once);
        columns(r, to, panel, next, min_size(panels, next + at_once), bytes, 1, plain, SGEMM_TALL);
        panel = next;
    }
    if (pair) /* 16 + 8 columns: the empty half of the last panel is left out */
        columns(r, to, panel, end, end, bytes, 2, wide, WIDE_ROWS);
}

size_t sgemm_units_avx2(const void *args)
{
    const pcx_sgemm_args *p = args;
    const sgemm_split s = sgemm_split_of(p->m, p->n, p->k, SGEMM_MB);
    return s.blocks * s.groups;
}

void sgemm_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_sgemm_args *p = args;
    const sgemm_split s = sgemm_split_of(p->m, p->n, p->k, SGEMM_MB);
    const sgemm_target to = { p->w, p->ldw, p->n, &p->tail, p->out, p->ldo };
    sgemm_rows rows;
    (void)scratch;
    rows.lines = rows.runs = 1;
    rows.line_step = rows.run_step = 0;
    rows.length = p->k;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit / s.groups * s.rows, panel = unit % s.groups * s.panels;
        if (unit == begin || !panel) {
            rows.count = min_size(s.rows, p->m - first);
            for (size_t i = 0; i < rows.count; i++) {
                rows.row[i] = first + i;
                rows.a[i] = p->a + (first + i) * p->lda;
            }
        }
        sgemm_rows_avx2(&rows, &to, panel, min_size(panel + s.panels, ceil_div(p->n, SGEMM_NR)));
    }
}

PCX_TARGET_END
#endif
