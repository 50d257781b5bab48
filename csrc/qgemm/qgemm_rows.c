/* qgemm_rows.c - the driver: blocks of rows of a matrix, padded to whole steps, through a micro-kernel. */
#include "qgemm.h"

enum { QGEMM_PADDED = 4 }; /* rows that may have to be copied: see qgemm_rows_readable */

/* What a thread needs for a unit, cut from its scratch. */
typedef struct {
    const uint8_t **row;
    int32_t *zero;
    uint32_t *row_sum;
    uint8_t *padded; /* QGEMM_PADDED rows of whole steps */
    char *micro;     /* the micro-kernel's own */
} qgemm_workspace;

static qgemm_grid qgemm_rows_grid(const pcx_qgemm_args *p, const qgemm_micro *micro)
{
    const size_t panels = micro->group ? micro->group(ceil_div(p->k, 4)) : micro->panels;
    return qgemm_split(p, micro->rows ? micro->rows : micro->mr, panels, micro->near ? micro->near : QGEMM_NEAR);
}

/* The bytes of a workspace; with `scratch`, also the workspace. */
static size_t qgemm_rows_workspace(const pcx_qgemm_args *p, const qgemm_micro *micro, char *scratch,
                                   qgemm_workspace *to)
{
    const size_t rows = round_up(qgemm_rows_grid(p, micro).rows, micro->mr), steps = ceil_div(p->k, 4);
    const size_t zero = round_up(rows * sizeof *to->row, 64), row_sum = zero + round_up(rows * 4, 64);
    const size_t padded = row_sum + round_up(rows * 4, 64), own = padded + round_up(QGEMM_PADDED * steps * 4, 64);
    if (scratch)
        *to = (qgemm_workspace){ (const uint8_t **)scratch, (int32_t *)(scratch + zero),
                                 (uint32_t *)(scratch + row_sum), (uint8_t *)scratch + padded, scratch + own };
    return own + (micro->scratch ? micro->scratch(steps) : 0);
}

/*
 * How many rows of `a` can be read in whole steps.  Beyond its k bytes, which are multiplied with zero weights,
 * another row may follow, but not the end of `a`.  All but the last row if lda >= 3, all but three if lda is 1.
 */
static size_t qgemm_rows_readable(const pcx_qgemm_args *p)
{
    const size_t past = round_up(p->k, 4) - p->k;
    const size_t rest = past && p->lda ? ceil_div(past, p->lda) : past ? p->m : 0;
    return p->m - min_size(rest, p->m);
}

/* Copies row i, padded to whole steps, into `padded`; with lda 0 all rows are the same. */
static const uint8_t *qgemm_rows_pad(const pcx_qgemm_args *p, size_t i, uint8_t *padded)
{
    const size_t width = round_up(p->k, 4);
    padded += (p->lda ? p->m - 1 - i : 0) * width;
    memcpy(padded, p->a + i * p->lda, p->k);
    memset(padded + p->k, 0, width - p->k);
    return padded;
}

/* How many rows are those of `a` itself. */
static size_t qgemm_rows_make(const pcx_qgemm_args *p, size_t i, size_t rows, size_t mr, const qgemm_workspace *to)
{
    const size_t whole = qgemm_rows_readable(p), direct = whole > i ? min_size(rows, whole - i) : 0;
    const uint8_t *a = p->a + i * p->lda;
    for (size_t x = 0; x < direct; x++, a += p->lda)
        to->row[x] = a;
    for (size_t x = direct; x < rows; x++)
        to->row[x] = qgemm_rows_pad(p, i + x, to->padded);
    for (size_t x = rows; x < round_up(rows, mr); x++)
        to->row[x] = to->row[rows - 1];
    for (size_t x = 0; p->ldz && x < rows; x++)
        to->zero[x] = p->azp[(i + x) * p->ldz];
    for (size_t x = 0; p->wzp && x < rows; x++) {
        uint32_t sum = 0;
        for (size_t q = 0; q < p->k; q++)
            sum += to->row[x][q];
        to->row_sum[x] = sum;
    }
    return direct;
}

size_t qgemm_rows_units(const void *args, const qgemm_micro *micro)
{
    const qgemm_grid g = qgemm_rows_grid(args, micro);
    return g.blocks * g.groups;
}

size_t qgemm_rows_scratch(const void *args, const qgemm_micro *micro)
{
    return qgemm_rows_workspace(args, micro, NULL, NULL);
}

void qgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const qgemm_micro *micro)
{
    const pcx_qgemm_args *p = args;
    const qgemm_grid g = qgemm_rows_grid(p, micro);
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    qgemm_workspace space = { 0 };
    if (begin >= end)
        return;
    qgemm_rows_workspace(p, micro, scratch, &space);
    qgemm_block b = { .row = space.row, .mr = micro->mr, .together = ceil_div(p->k, 4), .azp = p->ldz ? 0 : p->azp[0], .zero = p->ldz ? space.zero : NULL,
                      .row_sum = p->wzp ? space.row_sum : NULL, .k = p->k, .steps = ceil_div(p->k, 4), .n = p->n,
                      .w = p->w, .colsum = p->colsum, .wzp = p->wzp, .prepared = p->prepared,
                      .scratch = space.micro, .tail = &tail, .out = p->out, .ldo = p->ldo };
    if (micro->enter)
        micro->enter(&b);
    for (size_t u = begin; u < end; u++) {
        const size_t group = u % g.groups, panel = group * g.together;
        if (u == begin || !group) {
            b.i = u / g.groups * g.rows;
            b.rows = min_size(g.rows, p->m - b.i);
            b.even = qgemm_rows_make(p, b.i, b.rows, micro->mr, &space);
        }
        micro->run(&b, panel, min_size(g.together, g.panels - panel));
    }
    if (micro->leave)
        micro->leave(&b);
}

size_t qgemm_rows_prepared(const void *args)
{
    const pcx_qgemm_args *p = args;
    return qgemm_acc16_bytes(ceil_div(p->n, QGEMM_NR), ceil_div(p->k, 4));
}

void qgemm_rows_prepare(const void *args, void *prepared)
{
    const pcx_qgemm_args *p = args;
    qgemm_acc16_make(ceil_div(p->n, QGEMM_NR), ceil_div(p->k, 4), p->w, prepared);
}
