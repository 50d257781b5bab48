/*
 * hgemm_avx2.c - weights are widened on their way into sgemm's tiles: of few rows in registers, so that memory brings
 * half the bytes; else once for a block of rows, into scratch that sgemm then reads.
 */
#include "hgemm.h"

#include "../sgemm/sgemm_finish_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma,f16c")

enum { CACHE = 24576 }; /* bytes of widened panels that stay in the L1 cache */

PCX_INLINE __m256 widened(const uint16_t *w, const int brain)
{
    const __m128i bits = _mm_loadu_si128((const __m128i *)w);
    return brain ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16)) : _mm256_cvtph_ps(bits);
}

/* mr rows times nv / 2 panels, ldw apart: the columns from `column` on. */
PCX_INLINE void tile(const sgemm_rows *r, const sgemm_target *to, const uint16_t *w, size_t ldw, size_t column,
                     const int mr, const int nv, const int brain)
{
    static const float zeros[MOST * LANES];
    const pcx_epilogue *tail = to->tail;
    const size_t n = to->n, width = (size_t)nv * LANES, k = r->length;
    const int how = finish_kind(tail->act);
    const float *bias = tail->bias ? tail->bias + column : zeros;
    float bounds[2], part[SGEMM_TALL * 2 * LANES];
    pcx_act_bounds(tail->act, tail->act_params, bounds, bounds + 1);
    if (!PCX_LIKELY(column + width <= n) && tail->bias) {
        memset(part, 0, sizeof part);
        bias = memcpy(part, bias, (n - column) * sizeof *part);
    }
    __m256 sum[SGEMM_TALL][MOST];
    PCX_UNROLL
    for (int v = 0; v < nv; v++) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++)
            sum[i][v] = _mm256_loadu_ps(bias + v * LANES);
    }
    for (size_t q = 0; q < k; q++) {
        PCX_OPAQUE(q); /* one index and fixed rows and panels, not a pointer for each */
        __m256 b[MOST];
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            b[v] = widened(w + v / 2 * ldw + q * SGEMM_NR + v % 2 * LANES, brain);
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            const __m256 x = _mm256_broadcast_ss(r->a[i] + q);
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                PCX_FMADD(sum[i][v], x, b[v]);
        }
    }
    if (PCX_LIKELY(column + width <= n && how != SLOW)) {
        finish(sum, tail->residual ? r->residual : NULL, column, how, bounds, mr, nv);
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                _mm256_storeu_ps(r->out[i] + column + v * LANES, sum[i][v]);
        }
        return;
    }
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            _mm256_storeu_ps(part + (i * nv + v) * LANES, sum[i][v]);
    }
    finish_slowly(r, 0, to, column, part, (size_t)mr, width);
}

#define TILE(mr, nv) \
    PCX_NOINLINE static void tile_##mr##x##nv(const sgemm_rows *r, const sgemm_target *to, const uint16_t *w, \
                                              size_t ldw, size_t column, int brain) \
    { \
        if (brain) \
            tile(r, to, w, ldw, column, mr, nv, 1); \
        else \
            tile(r, to, w, ldw, column, mr, nv, 0); \
    }
TILE(1, 8) TILE(1, 4) TILE(2, 4) TILE(3, 4)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)

typedef void tile_fn(const sgemm_rows *r, const sgemm_target *to, const uint16_t *w, size_t ldw, size_t column,
                     int brain);
/* By rows, for 1, 2 and 4 panels: of few rows, sums enough for the latency. */
static tile_fn *const tiles[][3] = {
    { NULL, NULL, NULL },
    { tile_1x2, tile_1x4, tile_1x8 }, { tile_2x2, tile_2x4, NULL }, { tile_3x2, tile_3x4, NULL },
    { tile_4x2, NULL, NULL }, { tile_5x2, NULL, NULL }, { tile_6x2, NULL, NULL },
};

/* At most SGEMM_TALL rows times the panels [begin, end). */
static void streamed(const pcx_hgemm_args *p, const sgemm_rows *r, size_t begin, size_t end)
{
    const sgemm_target to = { NULL, 0, p->n, &p->tail };
    for (size_t panel = begin, shift = 2; panel < end;) {
        while (shift && (!tiles[r->count][shift] || panel + ((size_t)1 << shift) > end))
            shift--;
        tiles[r->count][shift](r, &to, (const uint16_t *)p->w + panel * p->ldw, p->ldw, panel * SGEMM_NR,
                               p->wt == PCX_BF16);
        panel += (size_t)1 << shift;
    }
}

/* The panels that are widened at once; two at least, which sgemm may want together. */
static size_t panels_at_once(size_t k) { return max_size(2, CACHE / max_size(1, k * SGEMM_NR * sizeof(float))); }

PCX_INLINE void widen(const uint16_t *w, float *out, size_t count, const int brain)
{
    for (size_t i = 0; i < count; i += SGEMM_NR) {
        _mm256_store_ps(out + i, widened(w + i, brain));
        _mm256_store_ps(out + i + LANES, widened(w + i + LANES, brain));
    }
}

static void rows_at(const pcx_hgemm_args *p, size_t first, size_t column, sgemm_rows *r)
{
    for (size_t i = 0; i < r->count; i++) {
        r->a[i] = p->a + (first + i) * p->lda;
        r->out[i] = p->out + (first + i) * p->ldo + column;
        r->residual[i] = p->tail.residual ? p->tail.residual + (first + i) * p->tail.ldr + column : NULL;
    }
}

/* The rows from `first` on times the panels [begin, end), which are at most panels_at_once. */
static void expanded(const pcx_hgemm_args *p, sgemm_rows *r, size_t first, size_t begin, size_t end, float *scratch)
{
    const size_t column = begin * SGEMM_NR, each = p->k * SGEMM_NR;
    pcx_epilogue tail = p->tail;
    tail.bias = tail.bias ? tail.bias + column : NULL;
    const sgemm_target to = { scratch, each, min_size(p->n - column, (end - begin) * SGEMM_NR), &tail };
    rows_at(p, first, column, r);
    for (size_t panel = begin; panel < end; panel++) {
        const uint16_t *w = (const uint16_t *)p->w + panel * p->ldw;
        if (p->wt == PCX_BF16)
            widen(w, scratch + (panel - begin) * each, each, 1);
        else
            widen(w, scratch + (panel - begin) * each, each, 0);
    }
    sgemm_rows_avx2(r, &to, 0, end - begin);
}

size_t hgemm_units_avx2(const void *args)
{
    const pcx_hgemm_args *p = args;
    const sgemm_split s = sgemm_split_of(p->m, p->n, p->k, SGEMM_MB);
    return s.blocks * s.groups;
}

size_t hgemm_scratch_avx2(const void *args)
{
    const pcx_hgemm_args *p = args;
    if (p->m <= SGEMM_TALL)
        return 0;
    return min_size(panels_at_once(p->k), ceil_div(p->n, SGEMM_NR)) * p->k * SGEMM_NR * sizeof(float);
}

void hgemm_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_hgemm_args *p = args;
    const sgemm_split s = sgemm_split_of(p->m, p->n, p->k, SGEMM_MB);
    const size_t at_once = panels_at_once(p->k);
    sgemm_rows rows;
    rows.lines = rows.runs = 1;
    rows.line_step = rows.run_step = 0;
    rows.length = p->k;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit / s.groups * s.rows, group = unit % s.groups * s.panels,
                     stop = min_size(group + s.panels, ceil_div(p->n, SGEMM_NR));
        rows.count = min_size(s.rows, p->m - first);
        if (rows.count <= SGEMM_TALL) {
            rows_at(p, first, 0, &rows);
            streamed(p, &rows, group, stop);
            continue;
        }
        for (size_t panel = group; panel < stop; panel += at_once)
            expanded(p, &rows, first, panel, min_size(panel + at_once, stop), scratch);
    }
}

PCX_TARGET_END
#endif
