/*
 * hgemm_avx2.c - weights are widened for sgemm's tiles: for few rows in registers, so that half the bytes are read from
 * memory; otherwise once for a block of rows, into scratch that sgemm then reads.
 */
#include "hgemm.h"

#include "../sgemm/sgemm_finish_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma,f16c")

enum {
    STREAMED = 4 * SGEMM_TALL, /* rows at most, for which to widen weights again costs less than to store them */
    CACHE = 24576, /* bytes of widened panels that stay in the L1 cache */
    AHEAD = 2048   /* bytes from where weights are read to where they are fetched; beyond a panel the next one begins */
};

PCX_INLINE void hgemm_avx2_fetch(const uint16_t *w) { _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0); }

PCX_INLINE __m256 hgemm_avx2_widened(const uint16_t *w, const int brain)
{
    const __m128i bits = _mm_loadu_si128((const __m128i *)w);
    return brain ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16)) : _mm256_cvtph_ps(bits);
}

/* mr rows from `first` on times nv / 2 panels, ldw apart: the columns from `column` on. */
PCX_INLINE void hgemm_avx2_tile(const sgemm_rows *r, size_t first, const sgemm_target *to, const uint16_t *w,
                                size_t ldw, size_t column, const int mr, const int nv, const int brain)
{
    static const float zeros[MAX * LANES];
    const pcx_epilogue *tail = to->tail;
    const size_t n = to->n, width = (size_t)nv * LANES, k = r->length;
    const int how = sgemm_finish_kind(tail->act);
    const float *bias = tail->bias ? tail->bias + column : zeros;
    const float *const *residual = tail->residual ? r->residual + first : NULL, *a[SGEMM_TALL];
    float bounds[2], part[SGEMM_TALL * 2 * LANES], total[SGEMM_TALL * 2 * LANES];
    act_bounds(tail->act, tail->act_params, bounds, bounds + 1);
    if (!PCX_LIKELY(column + width <= n) && tail->bias) {
        sgemm_finish_copy(part, bias, n - column, width);
        bias = part;
    }
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        a[i] = r->a[first + i];
    __m256 sum[SGEMM_TALL][MAX];
    PCX_UNROLL
    for (int v = 0; v < nv; v++) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++)
            sum[i][v] = _mm256_loadu_ps(bias + v * LANES);
    }
    for (size_t q = 0, stop = min_size(k, SGEMM_DEEP);; stop = min_size(k, stop + SGEMM_DEEP)) {
        for (; q < stop; q++) {
            PCX_OPAQUE(q); /* one index and fixed rows and panels, not a pointer for each */
            __m256 b[MAX];
            PCX_UNROLL
            for (int v = 0; v < nv; v += 2)
                hgemm_avx2_fetch(w + v / 2 * ldw + q * SGEMM_NR);
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                b[v] = hgemm_avx2_widened(w + v / 2 * ldw + q * SGEMM_NR + v % 2 * LANES, brain);
            PCX_UNROLL
            for (int i = 0; i < mr; i++) {
                const __m256 x = _mm256_broadcast_ss(a[i] + q);
                PCX_UNROLL
                for (int v = 0; v < nv; v++)
                    PCX_FMADD(sum[i][v], x, b[v]);
            }
        }
        if (PCX_LIKELY(k <= SGEMM_DEEP))
            break;
        if (stop == k) {
            sgemm_finish_withdraw(sum, total, mr, nv);
            break;
        }
        if (stop == SGEMM_DEEP)
            memset(total, 0, sizeof total);
        sgemm_finish_deposit(sum, total, mr, nv);
    }
    if (PCX_LIKELY(column + width <= n && how != SLOW)) {
        sgemm_finish_tile(sum, residual, column, how, bounds, mr, nv);
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                _mm256_storeu_ps(r->out[first + i] + column + v * LANES, sum[i][v]);
        }
        return;
    }
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            _mm256_storeu_ps(part + (i * nv + v) * LANES, sum[i][v]);
    }
    sgemm_finish_slowly(r, first, to, column, part, (size_t)mr, width);
}

#define TILE(mr, nv) \
    PCX_NOINLINE static void hgemm_avx2_tile_##mr##x##nv(const sgemm_rows *r, size_t first, const sgemm_target *to, \
                                              const uint16_t *w, size_t ldw, size_t column, int brain) \
    { \
        if (brain) \
            hgemm_avx2_tile(r, first, to, w, ldw, column, mr, nv, 1); \
        else \
            hgemm_avx2_tile(r, first, to, w, ldw, column, mr, nv, 0); \
    }
TILE(1, 8) TILE(1, 4) TILE(2, 4) TILE(3, 4)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)

typedef void tile_fn(const sgemm_rows *r, size_t first, const sgemm_target *to, const uint16_t *w, size_t ldw,
                     size_t column, int brain);
/* By rows, for 1, 2 and 4 panels: of few rows, sums enough for the latency. */
static tile_fn *const tiles[][3] = {
    { NULL, NULL, NULL },
    { hgemm_avx2_tile_1x2, hgemm_avx2_tile_1x4, hgemm_avx2_tile_1x8 },
    { hgemm_avx2_tile_2x2, hgemm_avx2_tile_2x4, NULL },
    { hgemm_avx2_tile_3x2, hgemm_avx2_tile_3x4, NULL },
    { hgemm_avx2_tile_4x2, NULL, NULL },
    { hgemm_avx2_tile_5x2, NULL, NULL },
    { hgemm_avx2_tile_6x2, NULL, NULL },
};

/* At most STREAMED rows times the panels [begin, end). */
static void hgemm_avx2_streamed(const pcx_hgemm_args *p, const sgemm_rows *r, size_t begin, size_t end)
{
    const sgemm_target to = { NULL, 0, p->n, &p->tail };
    const size_t tall = ceil_div(r->count, ceil_div(r->count, SGEMM_TALL));
    for (size_t panel = begin, shift = 2; panel < end; panel += (size_t)1 << shift) {
        while (shift && (!tiles[tall][shift] || panel + ((size_t)1 << shift) > end))
            shift--;
        for (size_t i = 0; i < r->count; i += tall)
            tiles[min_size(tall, r->count - i)][shift](r, i, &to, (const uint16_t *)p->w + panel * p->ldw, p->ldw,
                                                       panel * SGEMM_NR, p->wt == PCX_BF16);
    }
}

/* The panels that are widened at once; two at least: sgemm takes a half-empty last one with the one before. */
static size_t hgemm_avx2_panels_at_once(size_t k)
{
    return max_size(2, CACHE / max_size(1, k * SGEMM_NR * sizeof(float)));
}

PCX_INLINE void hgemm_avx2_widen(const uint16_t *w, float *out, size_t count, const int brain)
{
    for (size_t i = 0; i < count; i += SGEMM_NR) {
        hgemm_avx2_fetch(w + i);
        _mm256_store_ps(out + i, hgemm_avx2_widened(w + i, brain));
        _mm256_store_ps(out + i + LANES, hgemm_avx2_widened(w + i + LANES, brain));
    }
}

static void hgemm_avx2_rows_at(const pcx_hgemm_args *p, size_t first, size_t column, sgemm_rows *r)
{
    for (size_t i = 0; i < r->count; i++) {
        r->a[i] = p->a + (first + i) * p->lda;
        r->out[i] = p->out + (first + i) * p->ldo + column;
        r->residual[i] = p->tail.residual ? p->tail.residual + (first + i) * p->tail.ldr + column : NULL;
    }
}

/* The rows from `first` on times the panels [begin, end), which are at most panels_at_once. */
static void hgemm_avx2_expanded(const pcx_hgemm_args *p, sgemm_rows *r, size_t first, size_t begin, size_t end,
                                float *scratch)
{
    const size_t column = begin * SGEMM_NR, each = p->k * SGEMM_NR;
    pcx_epilogue tail = p->tail;
    tail.bias = tail.bias ? tail.bias + column : NULL;
    const sgemm_target to = { scratch, each, min_size(p->n - column, (end - begin) * SGEMM_NR), &tail };
    hgemm_avx2_rows_at(p, first, column, r);
    for (size_t panel = begin; panel < end; panel++) {
        const uint16_t *w = (const uint16_t *)p->w + panel * p->ldw;
        if (p->wt == PCX_BF16)
            hgemm_avx2_widen(w, scratch + (panel - begin) * each, each, 1);
        else
            hgemm_avx2_widen(w, scratch + (panel - begin) * each, each, 0);
    }
    sgemm_rows_avx2(r, &to, 0, end - begin);
}

size_t hgemm_units_avx2(const void *args)
{
    const pcx_hgemm_args *p = args;
    const sgemm_split s = sgemm_split_of(p->m, p->n, p->k, SGEMM_MB, SGEMM_TALL);
    return s.blocks * s.groups;
}

size_t hgemm_scratch_avx2(const void *args)
{
    const pcx_hgemm_args *p = args;
    if (p->m <= STREAMED)
        return 0;
    return min_size(hgemm_avx2_panels_at_once(p->k), ceil_div(p->n, SGEMM_NR)) * p->k * SGEMM_NR * sizeof(float);
}

void hgemm_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_hgemm_args *p = args;
    const sgemm_split s = sgemm_split_of(p->m, p->n, p->k, SGEMM_MB, SGEMM_TALL);
    const size_t at_once = hgemm_avx2_panels_at_once(p->k);
    sgemm_rows rows;
    rows.lines = rows.runs = 1;
    rows.line_step = rows.run_step = 0;
    rows.length = p->k;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit / s.groups * s.rows, group = unit % s.groups * s.panels,
                     stop = min_size(group + s.panels, ceil_div(p->n, SGEMM_NR));
        rows.count = min_size(s.rows, p->m - first);
        if (p->n <= SGEMM_NARROW) {
            const sgemm_target to = { NULL, 0, p->n, &p->tail };
            hgemm_avx2_rows_at(p, first, 0, &rows);
            sgemm_narrow_avx2(&rows, &to, p->w, p->wt == PCX_BF16 ? SGEMM_BF16 : SGEMM_F16);
            continue;
        }
        if (rows.count <= STREAMED) {
            hgemm_avx2_rows_at(p, first, 0, &rows);
            hgemm_avx2_streamed(p, &rows, group, stop);
            continue;
        }
        for (size_t panel = group, count; panel < stop; panel += count) {
            count = min_size(at_once, stop - panel);
            count -= stop - panel - count == 1; /* the last two stay together */
            hgemm_avx2_expanded(p, &rows, first, panel, panel + count, scratch);
        }
    }
}

PCX_TARGET_END
#endif
