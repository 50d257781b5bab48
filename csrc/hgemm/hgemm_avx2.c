/* hgemm_avx2.c - tiles of up to 6 rows whose weights are widened in registers: of few rows, half the bytes are read. */
#include "hgemm.h"

#include "../sgemm/sgemm_finish_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma,f16c")

enum { AHEAD = 2048 }; /* bytes from where weights are read to where they are fetched; beyond a panel the next begins */

PCX_INLINE void hgemm_avx2_fetch(const char *w) { _mm_prefetch(w + AHEAD, _MM_HINT_T0); }

PCX_INLINE __m256 hgemm_avx2_widened(const char *w, const int brain)
{
    const __m128i bits = _mm_loadu_si128((const __m128i *)(const void *)w);
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
    const char *panel[MAX / 2];
    PCX_UNROLL
    for (int v = 0; v < nv; v += 2)
        panel[v / 2] = (const char *)(w + (size_t)(v / 2) * ldw);
    for (size_t q = 0, at = 0, stop = min_size(k, SGEMM_DEEP);; stop = min_size(k, stop + SGEMM_DEEP)) {
        for (; q < stop; q++, at += SGEMM_NR * sizeof *w) {
            PCX_OPAQUE(q); /* an index and fixed rows, another and fixed panels, not a pointer for each */
            PCX_OPAQUE(at);
            __m256 b[MAX];
            PCX_UNROLL
            for (int v = 0; v < nv; v += 2)
                hgemm_avx2_fetch(panel[v / 2] + at);
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                b[v] = hgemm_avx2_widened(panel[v / 2] + at + v % 2 * LANES * sizeof *w, brain);
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
TILE(1, 8) TILE(1, 4) TILE(2, 4)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2)

typedef void tile_fn(const sgemm_rows *r, size_t first, const sgemm_target *to, const uint16_t *w, size_t ldw,
                     size_t column, int brain);
/* By rows, for 1, 2 and 4 panels: of few rows, sums enough for the latency. */
static tile_fn *const tiles[][3] = {
    { NULL, NULL, NULL },
    { hgemm_avx2_tile_1x2, hgemm_avx2_tile_1x4, hgemm_avx2_tile_1x8 },
    { hgemm_avx2_tile_2x2, hgemm_avx2_tile_2x4, NULL },
    { hgemm_avx2_tile_3x2, NULL, NULL },
    { hgemm_avx2_tile_4x2, NULL, NULL },
    { hgemm_avx2_tile_5x2, NULL, NULL },
    { hgemm_avx2_tile_6x2, NULL, NULL },
};

static void hgemm_avx2_stream(const pcx_hgemm_args *p, const sgemm_rows *r, size_t begin, size_t end)
{
    const sgemm_target to = { NULL, 0, p->n, &p->tail };
    const size_t tall = ceil_div(r->count, ceil_div(r->count, SGEMM_TALL));
    if (p->n <= SGEMM_NARROW) {
        sgemm_narrow_avx2(r, &to, p->w, p->wt == PCX_BF16 ? SGEMM_BF16 : SGEMM_F16);
        return;
    }
    for (size_t panel = begin, shift = 2; panel < end; panel += (size_t)1 << shift) {
        while (shift && (!tiles[tall][shift] || panel + ((size_t)1 << shift) > end))
            shift--;
        for (size_t i = 0; i < r->count; i += tall)
            tiles[min_size(tall, r->count - i)][shift](r, i, &to, (const uint16_t *)p->w + panel * p->ldw, p->ldw,
                                                       panel * SGEMM_NR, p->wt == PCX_BF16);
    }
}

static void hgemm_avx2_widen(const uint16_t *w, float *out, size_t count, int brain)
{
    for (size_t i = 0; i < count; i += SGEMM_NR) {
        hgemm_avx2_fetch((const char *)(w + i));
        PCX_UNROLL
        for (size_t v = i; v < i + SGEMM_NR; v += LANES) {
            const char *from = (const char *)(w + v);
            _mm256_store_ps(out + v, brain ? hgemm_avx2_widened(from, 1) : hgemm_avx2_widened(from, 0));
        }
    }
}

PCX_HIDDEN extern const hgemm_micro hgemm_micro_avx2;
const hgemm_micro hgemm_micro_avx2 = { hgemm_avx2_stream, hgemm_avx2_widen, sgemm_rows_avx2 };

PCX_TARGET_END
#endif
