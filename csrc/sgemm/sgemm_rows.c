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
    const sgemm_split s = sgemm_rows_split(args, micro);
    return sgemm_is_deep(&s, ((const pcx_sgemm_args *)args)->k, micro->mr) ? SGEMM_SUMS * sizeof(float) : 0;
}

void sgemm_rows_deep(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end, const sgemm_micro *micro,
                     float *scratch)
{
    const pcx_epilogue *const tail = to->tail;
    float *const part = scratch, *const total = scratch + SGEMM_SUMS / 2;
    sgemm_rows some = *rows; /* a part of their one run */
    some.fresh = 0;
    for (size_t panel = begin; panel < end; panel += SGEMM_PANELS) {
        const size_t wide = min_size(SGEMM_PANELS, end - panel), column = panel * SGEMM_NR, width = wide * SGEMM_NR;
        const size_t columns = min_size(width, to->n - column);
        pcx_epilogue plain = { .bias = tail->bias ? tail->bias + column : NULL, .act_params = tail->act_params };
        for (size_t i = 0; i < rows->count; i++)
            some.out[i] = part + i * width;
        memset(total, 0, rows->count * width * sizeof *total);
        for (size_t done = 0; done < rows->length; done += some.length) {
            const sgemm_target slice = { to->w + panel * to->ldw + done * SGEMM_NR, to->ldw, columns, &plain };
            some.length = min_size(SGEMM_DEEP, rows->length - done);
            for (size_t i = 0; i < rows->count; i++)
                some.a[i] = rows->a[i] + done;
            micro->run(&some, &slice, 0, wide);
            plain.bias = NULL;
            for (size_t i = 0; i < rows->count; i++)
                for (size_t j = 0; j < columns; j++)
                    total[i * width + j] += part[i * width + j];
        }
        for (size_t i = 0; i < rows->count; i++)
            sgemm_finish(tail, total + i * width, tail->residual ? rows->residual[i] + column : NULL,
                         rows->out[i] + column, columns);
    }
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
    const int deep = sgemm_is_deep(&s, p->k, micro->mr);
    sgemm_rows rows;
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
        const size_t stop = min_size(panel + s.panels, ceil_div(p->n, SGEMM_NR));
        if (deep)
            sgemm_rows_deep(&rows, &to, panel, stop, micro, scratch);
        else
            micro->run(&rows, &to, panel, stop);
    }
}
