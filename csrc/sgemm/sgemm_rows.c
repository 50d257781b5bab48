/* sgemm_rows.c - the driver: blocks of rows of a matrix through a micro-kernel. */
#include "sgemm.h"

sgemm_split sgemm_split_of(size_t m, size_t n, size_t k, size_t max_rows, size_t mr)
{
    enum { UNITS = 32, MIN = 1 << 17, TOGETHER = 4 }; /* wanted units; min. products of one; panels of one */
    sgemm_split s = { 0 };
    const size_t panels = ceil_div(n, SGEMM_NR);
    if (!m || !n || m > SIZE_MAX / 2) /* no array is as large as that */
        return s;
    s.blocks = ceil_div(m, max_rows);
    s.rows = round_up(ceil_div(m, s.blocks), mr);
    s.blocks = ceil_div(m, s.rows);
    const size_t worth = s.rows * n / MIN * k + s.rows * n % MIN * k / MIN;
    s.groups = max_size(1, min_size(ceil_div(UNITS, s.blocks), worth));
    s.panels = round_up(ceil_div(panels, s.groups), TOGETHER);
    s.groups = ceil_div(panels, s.panels);
    return s;
}

static sgemm_split sgemm_rows_split(const pcx_sgemm_args *p, const sgemm_micro *micro)
{
    return sgemm_split_of(p->m, p->n, p->k, SGEMM_MB, micro->mr);
}

size_t sgemm_rows_units(const void *args, const sgemm_micro *micro)
{
    const sgemm_split s = sgemm_rows_split(args, micro);
    return s.blocks * s.groups;
}

size_t sgemm_rows_scratch(const void *args, const sgemm_micro *micro)
{
    (void)args, (void)micro;
    return 0;
}

/* The rows from `first` on. */
static void sgemm_rows_at(const pcx_sgemm_args *p, size_t first, sgemm_rows *rows)
{
    const size_t count = rows->count, lda = p->lda, ldo = p->ldo, ldr = p->tail.ldr;
    const float *const a = p->a + first * lda;
    float *const out = p->out + first * ldo;
    for (size_t i = 0; i < count; i++)
        rows->a[i] = a + i * lda;
    for (size_t i = 0; i < count; i++)
        rows->out[i] = out + i * ldo;
    if (p->tail.residual) {
        const float *const residual = p->tail.residual + first * ldr;
        for (size_t i = 0; i < count; i++)
            rows->residual[i] = residual + i * ldr;
    }
}

void sgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const sgemm_micro *micro)
{
    const pcx_sgemm_args *p = args;
    const sgemm_split s = sgemm_rows_split(p, micro);
    const sgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    sgemm_rows rows;
    (void)scratch;
    rows.lines = rows.runs = 1;
    rows.line_step = rows.run_step = 0;
    rows.length = p->k;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit / s.groups * s.rows, panel = unit % s.groups * s.panels;
        if (unit == begin || !panel) {
            rows.fresh = unit / s.groups == begin / s.groups;
            rows.count = min_size(s.rows, p->m - first);
            sgemm_rows_at(p, first, &rows);
        }
        micro->run(&rows, &to, panel, min_size(panel + s.panels, ceil_div(p->n, SGEMM_NR)));
    }
}
