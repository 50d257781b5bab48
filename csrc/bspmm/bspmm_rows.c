/* bspmm_rows.c - the driver: sgemm's blocks of rows; each panel has as many k as it lists. */
#include "bspmm.h"

/* All rows times the panels [begin, end), in tiles as equal as can be, as sgemm does it. */
static void bspmm_rows_columns(const pcx_bspmm_args *p, const bspmm_micro *micro, const sgemm_rows *r, size_t begin,
                               size_t end, int half)
{
    const size_t count = ceil_div(r->count, micro->mr), less = count ? r->count / count : 0;
    for (size_t i = 0, more = r->count - less * count; i < r->count;) {
        const size_t rows = less + (more > 0);
        micro->run(p, r, i, rows, begin, end, half);
        i += rows;
        more -= more > 0;
    }
}

/* The panels [begin, end) of all rows, as many panels at a time as fit the L1 cache. */
static void bspmm_rows_panels(const pcx_bspmm_args *p, const bspmm_micro *micro, const sgemm_rows *r, size_t begin,
                              size_t end)
{
    enum { CACHED = 384 }; /* blocks, 24 KiB */
    const size_t whole = ceil_div(p->n, SGEMM_NR / 2) % 2 ? ceil_div(p->n, SGEMM_NR) - 1 : SIZE_MAX;
    for (size_t panel = begin; panel < end;) {
        const int half = panel == whole;
        size_t next = panel + 1, blocks = bspmm_blocks(p->rows + panel);
        while (next < end && next != whole && (blocks += bspmm_blocks(p->rows + next)) <= CACHED)
            next++;
        bspmm_rows_columns(p, micro, r, panel, next, half);
        panel = next;
    }
}

static sgemm_split bspmm_rows_split(const pcx_bspmm_args *p, const bspmm_micro *micro)
{
    return sgemm_split_of(p->m, p->n, p->blocks / max_size(1, ceil_div(p->n, SGEMM_NR)), SGEMM_MB, micro->mr);
}

size_t bspmm_rows_units(const void *args, const bspmm_micro *micro)
{
    const sgemm_split s = bspmm_rows_split(args, micro);
    return s.blocks * s.groups;
}

size_t bspmm_rows_scratch(const void *args, const bspmm_micro *micro)
{
    (void)args, (void)micro;
    return 0;
}

void bspmm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const bspmm_micro *micro)
{
    const pcx_bspmm_args *p = args;
    const sgemm_split s = bspmm_rows_split(p, micro);
    sgemm_rows rows;
    (void)scratch;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit / s.groups * s.rows, panel = unit % s.groups * s.panels;
        if (unit == begin || !panel) {
            rows.count = min_size(s.rows, p->m - first);
            for (size_t i = 0; i < rows.count; i++) {
                rows.a[i] = p->a + (first + i) * p->lda;
                rows.out[i] = p->out + (first + i) * p->ldo;
            }
            for (size_t i = 0; p->tail.residual && i < rows.count; i++)
                rows.residual[i] = p->tail.residual + (first + i) * p->tail.ldr;
        }
        bspmm_rows_panels(p, micro, &rows, panel, min_size(panel + s.panels, ceil_div(p->n, SGEMM_NR)));
    }
}
