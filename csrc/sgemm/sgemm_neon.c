/*
 * sgemm_neon.c - tiles of up to 6 rows x 16 columns: 24 sums, 4 weights and a few numbers of the rows fill the 32 registers.
 * Every output is one sum along k, deep ones in parts: the bytes of AVX2's, but for narrow products.
 *
 * llvm-mca 19, inner loop of 6 x 16 (GCC 12), MAC a cycle, of 4 possible on cortex-a72, 8 on neoverse-n1, 16 on neoverse-v1:
 * 3.99, 7.98, 15.9; in order (cortex-a55) 4.5.
 */
#include "sgemm_finish_neon.h"

#if PCX_ARM64

enum { LANES = SGEMM_NEON_LANES, MAX = SGEMM_NEON_MAX, VECTORS = SGEMM_NR / LANES, FEW = 3, ROUND = 4, AHEAD = 2 };

/*
 * `count` steps of mr rows times a panel.  The next step's weights are loaded in the last row, as soon as this one's were
 * used, and a number of a row AHEAD rows before it is used.
 */
PCX_INLINE void sgemm_neon_tall(const float *const *a, const float *b, size_t at, float32x4_t sum[][MAX], const int count,
                                const int mr, const int nv)
{
    float32x4_t w[VECTORS];
    float x[SGEMM_TALL];
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        PCX_LOAD_4S(w[v], b + v * LANES);
    PCX_UNROLL
    for (int i = 0; i < AHEAD && i < mr; i++)
        PCX_LOAD_S(x[i], a[i] + at);
    PCX_UNROLL
    for (int q = 0; q < count; q++) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            const int next = mr <= AHEAD ? i + mr : i + AHEAD, row = next % mr, step = q + next / mr;
            PCX_UNROLL
            for (int v = 0; v < nv; v++) {
                PCX_FMLA_EACH(sum[i][v], w[v], x[i]);
                if (v + 1 == nv && step < count)
                    PCX_LOAD_S(x[row], a[row] + at + step);
                if (i + 1 == mr && q + 1 < count)
                    PCX_LOAD_4S(w[v], b + (q + 1) * SGEMM_NR + v * LANES);
            }
        }
    }
}

/* One step of few rows times nv / VECTORS panels, ldw apart: sums enough for the latency of FMA; a vector of weights at a time. */
PCX_INLINE void sgemm_neon_flat(const float *const *a, const float *b, size_t ldw, size_t at, float32x4_t sum[][MAX],
                                const int mr, const int nv)
{
    float x[FEW];
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        PCX_LOAD_S(x[i], a[i] + at);
    PCX_UNROLL
    for (int v = 0; v < nv; v++) {
        const float32x4_t w = vld1q_f32(b + (size_t)(v / VECTORS) * ldw + v % VECTORS * LANES);
        PCX_UNROLL
        for (int i = 0; i < mr; i++)
            PCX_FMLA_EACH(sum[i][v], w, x[i]);
    }
}

/* `length` numbers of each row, from `at` on: one index and fixed rows, not a pointer for each. */
PCX_INLINE const float *sgemm_neon_run(const float *const *a, const float *b, size_t ldw, size_t at, size_t length,
                                       float32x4_t sum[][MAX], const int mr, const int nv)
{
    const size_t end = at + length;
    if (nv > VECTORS) {
        for (; at < end; at++, b += SGEMM_NR) {
            PCX_OPAQUE(at);
            sgemm_neon_flat(a, b, ldw, at, sum, mr, nv);
        }
        return b;
    }
    for (; at + ROUND <= end; at += ROUND, b += ROUND * SGEMM_NR) {
        PCX_OPAQUE(at);
        sgemm_neon_tall(a, b, at, sum, ROUND, mr, nv);
    }
    for (; at < end; at++, b += SGEMM_NR) {
        PCX_OPAQUE(at);
        sgemm_neon_tall(a, b, at, sum, 1, mr, nv);
    }
    return b;
}

/* All numbers of each row; of more than SGEMM_DEEP, those are summed at once. */
PCX_INLINE void sgemm_neon_sums(const float *const *a, const float *b, size_t ldw, const sgemm_rows *r,
                                float32x4_t sum[][MAX], const int mr, const int nv, const int deep)
{
    sgemm_neon_part total;
    size_t left = SGEMM_DEEP, at = 0;
    if (deep)
        memset(total, 0, sizeof total);
    for (size_t i = r->lines; i; i--, at += r->line_step - r->runs * r->run_step)
        for (size_t j = r->runs; j; j--, at += r->run_step) {
            if (!deep) {
                b = sgemm_neon_run(a, b, ldw, at, r->length, sum, mr, nv);
                continue;
            }
            for (size_t done = 0, some; done < r->length; done += some, left -= some) {
                if (!left) {
                    sgemm_neon_deposit(sum, total, mr, nv);
                    left = SGEMM_DEEP;
                }
                some = min_size(left, r->length - done);
                b = sgemm_neon_run(a, b, ldw, at + done, some, sum, mr, nv);
            }
        }
    if (deep)
        sgemm_neon_add(sum, total, mr, nv);
}

/* A strip: mr rows from `first` on times the panels [begin, end), nv vectors of columns at a time. */
PCX_INLINE void sgemm_neon_strip(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t begin, size_t end,
                                 const int mr, const int nv)
{
    const size_t panels = nv > VECTORS ? (size_t)nv / VECTORS : 1;
    const int deep = r->lines * r->runs * r->length > SGEMM_DEEP;
    const float *a[SGEMM_TALL];
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        a[i] = r->a[first + i];
    for (size_t panel = begin; panel < end; panel += panels) {
        const size_t column = panel * SGEMM_NR;
        const float *b = to->w + panel * to->ldw;
        float32x4_t sum[SGEMM_TALL][MAX];
        sgemm_neon_start(to, column, sum, mr, nv);
        if (!PCX_LIKELY(!deep))
            sgemm_neon_sums(a, b, to->ldw, r, sum, mr, nv, 1);
        else
            sgemm_neon_sums(a, b, to->ldw, r, sum, mr, nv, 0);
        sgemm_neon_finish(r, first, to, column, sum, mr, nv);
    }
}

#define STRIP(mr, nv) \
    PCX_NOINLINE static void sgemm_neon_strip_##mr##x##nv(const sgemm_rows *r, size_t first, const sgemm_target *to, \
                                                          size_t begin, size_t end) \
    { \
        sgemm_neon_strip(r, first, to, begin, end, mr, nv); \
    }
#define STRIPS(nv) STRIP(1, nv) STRIP(2, nv) STRIP(3, nv) STRIP(4, nv) STRIP(5, nv) STRIP(6, nv)
STRIPS(2) STRIPS(4)
STRIP(1, 16) STRIP(2, 8) STRIP(3, 8)

typedef void strip_fn(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t begin, size_t end);
#define LIST(nv) \
    { NULL, sgemm_neon_strip_1x##nv, sgemm_neon_strip_2x##nv, sgemm_neon_strip_3x##nv, sgemm_neon_strip_4x##nv, \
      sgemm_neon_strip_5x##nv, sgemm_neon_strip_6x##nv }
static strip_fn *const whole[] = LIST(4), *const half[] = LIST(2);
static strip_fn *const flat[] = { NULL, sgemm_neon_strip_1x16, sgemm_neon_strip_2x8, sgemm_neon_strip_3x8 };
static const size_t flat_panels[] = { 1, 4, 2, 2 };

/*
 * All rows times the panels [begin, end), in tiles of about equal height: 49 rows are 4 x 6 + 5 x 5, not 8 x 6 + 1.  A tile
 * of rows is multiplied with all panels, which should fit the L1 cache, before the next.
 */
static void sgemm_neon_columns(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end,
                               strip_fn *const *strips)
{
    const size_t count = ceil_div(r->count, SGEMM_TALL), less = count ? r->count / count : 0;
    for (size_t i = 0, more = r->count - less * count; i < r->count; more -= more > 0) {
        const size_t rows = less + (more > 0);
        strips[rows](r, i, to, begin, end);
        i += rows;
    }
}

void sgemm_rows_neon(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end)
{
    enum { CACHE = 24576 }; /* bytes of panels */
    const size_t panels = ceil_div(to->n, SGEMM_NR), rest = to->n % SGEMM_NR;
    const size_t at_once = max_size(1, CACHE / max_size(r->lines * r->runs * r->length * SGEMM_NR * sizeof(float), 1));
    const size_t last = rest && rest <= SGEMM_NR / 2 && begin < end && end == panels ? end - 1 : end;
    size_t panel = begin;
    if (r->count && r->count <= FEW) {
        const size_t step = flat_panels[r->count], stop = panel + (last - panel) / step * step;
        flat[r->count](r, 0, to, panel, stop);
        panel = stop;
    }
    for (size_t next; panel < last; panel = next) {
        next = min_size(last, panel + at_once);
        sgemm_neon_columns(r, to, panel, next, whole);
    }
    sgemm_neon_columns(r, to, last, end, half); /* the empty half of the last panel is left out */
}

PCX_HIDDEN extern const sgemm_micro sgemm_micro_neon;
const sgemm_micro sgemm_micro_neon = { SGEMM_TALL, sgemm_rows_neon };

#endif
