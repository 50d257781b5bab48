/*
 * hgemm_rows.c - the driver: weights are widened for sgemm's tiles: for few rows in registers, so that half the bytes
 * are read from memory; otherwise once for a block of rows, into scratch that sgemm then reads.
 */
#include "hgemm.h"

enum {
    STREAMED = 4 * SGEMM_TALL, /* rows at most, for which to widen weights again costs less than to store them */
    CACHE = 24576              /* bytes of widened panels that stay in the L1 cache */
};

/* The panels that are widened at once; two at least: sgemm takes a half-empty last one with the one before. */
static size_t hgemm_rows_at_once(size_t k) { return max_size(2, CACHE / max_size(1, k * SGEMM_NR * sizeof(float))); }

static sgemm_split hgemm_rows_split(const pcx_hgemm_args *p)
{
    return sgemm_split_of(p->m, p->n, p->k, SGEMM_MB, SGEMM_TALL);
}

size_t hgemm_rows_units(const void *args, const hgemm_micro *micro)
{
    const sgemm_split s = hgemm_rows_split(args);
    (void)micro;
    return s.blocks * s.groups;
}

size_t hgemm_rows_scratch(const void *args, const hgemm_micro *micro)
{
    const pcx_hgemm_args *p = args;
    (void)micro;
    if (p->m <= STREAMED || p->n <= SGEMM_NARROW)
        return 0;
    return min_size(hgemm_rows_at_once(p->k), ceil_div(p->n, SGEMM_NR)) * p->k * SGEMM_NR * sizeof(float);
}

static void hgemm_rows_at(const pcx_hgemm_args *p, size_t first, size_t column, sgemm_rows *r)
{
    for (size_t i = 0; i < r->count; i++) {
        r->a[i] = p->a + (first + i) * p->lda;
        r->out[i] = p->out + (first + i) * p->ldo + column;
        r->residual[i] = p->tail.residual ? p->tail.residual + (first + i) * p->tail.ldr + column : NULL;
    }
}

/* The rows from `first` on times the panels [begin, end), which are at most at_once. */
static void hgemm_rows_expanded(const pcx_hgemm_args *p, sgemm_rows *r, size_t first, size_t begin, size_t end,
                                float *scratch, const hgemm_micro *micro)
{
    const size_t column = begin * SGEMM_NR, each = p->k * SGEMM_NR;
    pcx_epilogue tail = p->tail;
    tail.bias = tail.bias ? tail.bias + column : NULL;
    const sgemm_target to = { scratch, each, min_size(p->n - column, (end - begin) * SGEMM_NR), &tail };
    hgemm_rows_at(p, first, column, r);
    const uint16_t *w = (const uint16_t *)p->w + begin * p->ldw;
    for (size_t panel = 0; panel < end - begin; panel++)
        micro->widen(w + panel * p->ldw, scratch + panel * each, each, p->wt == PCX_BF16);
    micro->run(r, &to, 0, end - begin);
}

void hgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const hgemm_micro *micro)
{
    const pcx_hgemm_args *p = args;
    const sgemm_split s = hgemm_rows_split(p);
    const size_t at_once = hgemm_rows_at_once(p->k);
    sgemm_rows rows;
    rows.lines = rows.runs = 1;
    rows.line_step = rows.run_step = 0;
    rows.fresh = 0;
    rows.length = p->k;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit / s.groups * s.rows, group = unit % s.groups * s.panels,
                     stop = min_size(group + s.panels, ceil_div(p->n, SGEMM_NR));
        rows.count = min_size(s.rows, p->m - first);
        if (rows.count <= STREAMED || p->n <= SGEMM_NARROW) {
            hgemm_rows_at(p, first, 0, &rows);
            micro->stream(p, &rows, group, stop);
            continue;
        }
        for (size_t panel = group, count; panel < stop; panel += count) {
            count = min_size(at_once, stop - panel);
            count -= stop - panel - count == 1; /* the last two stay together */
            hgemm_rows_expanded(p, &rows, first, panel, panel + count, scratch, micro);
        }
    }
}
