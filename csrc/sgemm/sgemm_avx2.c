/* sgemm_avx2.c - tiles of up to 6 rows x 16 columns: 12 sums, 2 weights and a broadcast fill the 16 registers. */
#include "sgemm_finish_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

enum { WIDE_ROWS = 4 };

/* Of a row's numbers: one run; the runs of a window; or more than are summed at once. */
typedef enum { SINGLE, WINDOW, DEEP } strip_kind;

/* One number of each row times a row of the panels. */
PCX_INLINE void sgemm_avx2_step(const float *const *a, const float *const *b, size_t at, const int ahead,
                                __m256 sum[][MAX], const int mr, const int nv)
{
    __m256 w[MAX];
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        w[v] = _mm256_loadu_ps(b[v / 2] + ahead * SGEMM_NR + v % 2 * LANES);
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        const __m256 x = _mm256_broadcast_ss(a[i] + at + ahead);
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            PCX_FMADD(sum[i][v], x, w[v]);
    }
}

/* `count` numbers of each row; b moves on.  No loop here has one round only: GCC would unroll the one around it. */
PCX_INLINE void sgemm_avx2_steps(const float *const *a, const float **b, size_t at, __m256 sum[][MAX], const int count,
                                 const int mr, const int nv)
{
    for (int q = 0; q < count; q++)
        sgemm_avx2_step(a, b, at, q, sum, mr, nv);
    b[0] += count * SGEMM_NR;
    if (nv > 2)
        b[1] += count * SGEMM_NR;
    if (nv > 4)
        b[2] += count * SGEMM_NR;
    if (nv > 6)
        b[3] += count * SGEMM_NR;
}

/* `length` numbers of each row, from `at` on: one index and fixed rows, not a pointer for each. */
PCX_INLINE void sgemm_avx2_run(const float *const *a, const float **b, size_t at, size_t length, __m256 sum[][MAX],
                               const int mr, const int nv)
{
    const size_t end = at + length;
    for (; nv == 2 && at + 4 <= end; at += 4) { /* other shapes would spill */
        PCX_OPAQUE(at);
        sgemm_avx2_steps(a, b, at, sum, 4, mr, nv);
    }
    for (; at < end; at++) {
        PCX_OPAQUE(at);
        sgemm_avx2_steps(a, b, at, sum, 1, mr, nv);
    }
}

/* All numbers of each row, more than SGEMM_DEEP. */
PCX_INLINE void sgemm_avx2_run_deep(const float *const *a, const float **b, const sgemm_rows *r, __m256 sum[][MAX], const int mr,
                         const int nv)
{
    float total[SGEMM_TALL * 2 * LANES] = { 0 };
    size_t left = SGEMM_DEEP, at = 0;
    for (size_t i = r->lines; i; i--, at += r->line_step - r->runs * r->run_step)
        for (size_t j = r->runs; j; j--, at += r->run_step)
            for (size_t done = 0, some; done < r->length; done += some, left -= some) {
                if (!left) {
                    sgemm_finish_deposit(sum, total, mr, nv);
                    left = SGEMM_DEEP;
                }
                some = min_size(left, r->length - done);
                sgemm_avx2_run(a, b, at + done, some, sum, mr, nv);
            }
    sgemm_finish_withdraw(sum, total, mr, nv);
}

/*
 * A strip: mr rows from `first` on times the panels [begin, end), nv vectors of columns at a time.  Little
 * is computed from tile to tile: where k is short, each integer operation takes the place of an FMA.
 */
PCX_INLINE void sgemm_avx2_strip(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t begin, size_t end, const int mr,
                      const int nv, const strip_kind kind)
{
    enum { PANELS = MAX / 2 };
    static const float zeros[MAX * LANES];
    const pcx_epilogue tail = *to->tail;
    const size_t n = to->n, width = nv * LANES, k = r->lines * r->runs * r->length;
    const size_t next = (size_t)(nv + 1) / 2 * to->ldw - k * SGEMM_NR; /* from the end of a panel to a tile's next */
    const float *const *residual = tail.residual ? r->residual + first : NULL, *a[SGEMM_TALL], *b[PANELS];
    const int how = sgemm_finish_kind(tail.act);
    float bounds[2], part[SGEMM_TALL * 2 * LANES];
    act_bounds(tail.act, tail.act_params, bounds, bounds + 1);
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        a[i] = r->a[first + i];
    PCX_UNROLL
    for (int v = 0; v < nv; v += 2)
        b[v / 2] = to->w + (begin + v / 2) * to->ldw;
    for (size_t column = begin * SGEMM_NR, stop = end * SGEMM_NR; column < stop;
         column += (size_t)(nv + 1) / 2 * SGEMM_NR) {
        const float *bias = tail.bias ? tail.bias + column : zeros;
        if (!PCX_LIKELY(column + width <= n) && tail.bias) {
            sgemm_finish_copy(part, bias, n - column, width);
            bias = part;
        }
        __m256 sum[SGEMM_TALL][MAX];
        PCX_UNROLL
        for (int v = 0; v < nv; v++) {
            sum[0][v] = _mm256_loadu_ps(bias + v * LANES);
            PCX_UNROLL
            for (int i = 1; i < mr; i++)
                sum[i][v] = sum[0][v];
        }
        if (kind == DEEP) {
            sgemm_avx2_run_deep(a, b, r, sum, mr, nv);
        } else if (kind == SINGLE) {
            size_t at = 0;
            PCX_OPAQUE(at);
            sgemm_avx2_run(a, b, at, k, sum, mr, nv);
        } else {
            size_t at = 0;
            for (size_t i = r->lines; i; i--, at += r->line_step - r->runs * r->run_step)
                for (size_t j = r->runs; j; j--, at += r->run_step)
                    sgemm_avx2_run(a, b, at, r->length, sum, mr, nv);
        }
        PCX_UNROLL
        for (int v = 0; v < nv; v += 2)
            b[v / 2] += next;
        if (!PCX_LIKELY(column + width <= n && how != SLOW)) {
            PCX_UNROLL
            for (int i = 0; i < mr; i++) {
                PCX_UNROLL
                for (int v = 0; v < nv; v++)
                    _mm256_storeu_ps(part + (i * nv + v) * LANES, sum[i][v]);
            }
            sgemm_finish_slowly(r, first, to, column, part, mr, width);
            continue;
        }
        sgemm_finish_tile(sum, residual, column, how, bounds, mr, nv);
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                _mm256_storeu_ps(r->out[first + i] + column + v * LANES, sum[i][v]);
        }
    }
}

#define STRIP(mr, nv) \
    PCX_NOINLINE static void sgemm_avx2_strip_##mr##x##nv(const sgemm_rows *r, size_t first, const sgemm_target *to, \
                                                              size_t begin, \
                                               size_t end) \
    { \
        if (r->lines * r->runs * r->length > SGEMM_DEEP) \
            sgemm_avx2_strip(r, first, to, begin, end, mr, nv, DEEP); \
        else if (r->lines == 1 && r->runs == 1) \
            sgemm_avx2_strip(r, first, to, begin, end, mr, nv, SINGLE); \
        else \
            sgemm_avx2_strip(r, first, to, begin, end, mr, nv, WINDOW); \
    }
STRIP(1, 2) STRIP(2, 2) STRIP(3, 2) STRIP(4, 2) STRIP(5, 2) STRIP(6, 2)
STRIP(1, 3) STRIP(2, 3) STRIP(3, 3) STRIP(4, 3)
STRIP(1, 8) STRIP(2, 4) STRIP(3, 4)

typedef void strip_fn(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t begin, size_t end);
static strip_fn *const plain[] = { NULL,
                                   sgemm_avx2_strip_1x2,
                                   sgemm_avx2_strip_2x2,
                                   sgemm_avx2_strip_3x2,
                                   sgemm_avx2_strip_4x2,
                                   sgemm_avx2_strip_5x2,
                                   sgemm_avx2_strip_6x2 };
static strip_fn *const wide[] = { NULL, sgemm_avx2_strip_1x3, sgemm_avx2_strip_2x3, sgemm_avx2_strip_3x3,
                                  sgemm_avx2_strip_4x3 };
static strip_fn *const flat[] = { NULL, sgemm_avx2_strip_1x8, sgemm_avx2_strip_2x4,
                                  sgemm_avx2_strip_3x4 }; /* few rows: sums enough for the latency */
static const size_t flat_panels[] = { 0, 4, 2, 2 };

/* Bring a part of the panels [begin, end) closer, `bytes` each: of large weights all but the next come from afar. */
static void sgemm_avx2_fetch(const sgemm_target *to, size_t begin, size_t end, size_t bytes, size_t part, size_t parts)
{
    enum { LINE = 64 };
    for (size_t panel = begin; panel < end; panel++) {
        const char *w = (const char *)(to->w + panel * to->ldw);
        for (size_t at = bytes / LINE * part / parts * LINE; at < bytes / LINE * (part + 1) / parts * LINE; at += LINE)
            _mm_prefetch(w + at, _MM_HINT_T1);
    }
}

/*
 * All rows times the panels [begin, end), in tiles of about equal height: 49 rows are 4 x 6 + 5 x 5, not
 * 8 x 6 + 1.  A tile of rows is multiplied with all panels, which should fit the L1 cache, before the next.
 * Panels up to `fetched` are needed next.
 */
static void sgemm_avx2_columns(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end, size_t fetched,
                               size_t bytes, strip_fn *const *strips, size_t tall)
{
    const size_t count = ceil_div(r->count, tall), less = count ? r->count / count : 0;
    for (size_t t = 0, i = 0, more = r->count - less * count; i < r->count; t++) {
        const size_t rows = less + (more > 0);
        sgemm_avx2_fetch(to, end, fetched, bytes, t, count);
        strips[rows](r, i, to, begin, end);
        i += rows;
        more -= more > 0;
    }
}

void sgemm_rows_avx2(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end)
{
    enum { CACHE = 24576 }; /* bytes of panels */
    const size_t panels = ceil_div(to->n, SGEMM_NR), rest = to->n % SGEMM_NR;
    const size_t bytes = r->lines * r->runs * r->length * SGEMM_NR * sizeof(float);
    const size_t at_once = max_size(1, CACHE / max_size(bytes, 1));
    size_t panel = begin;
    if (to->n && to->n <= SGEMM_NARROW && begin < end && r->count) {
        sgemm_narrow_avx2(r, to, to->w, SGEMM_F32);
        return;
    }
    if (r->count && r->count <= 3) {
        const size_t step = flat_panels[r->count], whole = panel + (end - panel) / step * step;
        flat[r->count](r, 0, to, panel, whole);
        panel = whole;
    }
    const size_t pair = rest && rest <= LANES && end == panels && panel + 2 <= end ? 2 : 0;
    while (panel + pair < end) {
        const size_t next = min_size(end - pair, panel + at_once);
        sgemm_avx2_columns(r, to, panel, next, min_size(panels, next + at_once), bytes, plain, SGEMM_TALL);
        panel = next;
    }
    if (pair) /* 16 + 8 columns: the empty half of the last panel is left out */
        sgemm_avx2_columns(r, to, panel, end, end, bytes, wide, WIDE_ROWS);
}

PCX_HIDDEN extern const sgemm_micro sgemm_micro_avx2;
const sgemm_micro sgemm_micro_avx2 = { SGEMM_TALL, sgemm_rows_avx2 };

PCX_TARGET_END
#endif
