/* qspmm_panels.c - the driver: panels of pixels, their blocks of four k together, through a micro-kernel. */
#include "qspmm.h"

static qspmm_grid qspmm_panels_grid(const pcx_qspmm_args *p, const qspmm_micro *micro)
{
    return qspmm_split(p, micro->lanes, micro->min, micro->max);
}

/* The bytes of a workspace; with `scratch`, also the workspace. */
static size_t qspmm_panels_workspace(const pcx_qspmm_args *p, const qspmm_micro *micro, char *scratch,
                                     qspmm_workspace *r)
{
    const qspmm_grid g = qspmm_panels_grid(p, micro);
    const size_t vectors = g.panels ? ceil_div(g.vectors, g.panels) : 0, step = micro->lanes * 4;
    const size_t zero = round_up((QSP_NR * vectors + micro->max) * step, 64);
    const size_t panel = zero + round_up(vectors * step, 64);
    if (scratch)
        *r = (qspmm_workspace){ .sums = (uint8_t *)scratch, .zero = (uint32_t *)(scratch + zero),
                                .panel = (uint8_t *)scratch + panel };
    return panel + vectors * ceil_div(p->k, 4) * step;
}

/* The pixels of vectors [first, end); where they end, the last one again. */
static void qspmm_panels_make(const pcx_qspmm_args *p, const qspmm_micro *micro, size_t first, size_t end,
                              qspmm_workspace *r)
{
    const size_t lanes = micro->lanes, step = lanes * 4;
    r->i = first * lanes;
    r->count = min_size(end * lanes, p->m) - r->i;
    r->vectors = end - first;
    for (size_t v = 0; v < r->vectors; v++) {
        const uint8_t *row[QSP_LANES_MAX];
        for (size_t x = 0; x < lanes; x++) {
            const size_t i = r->i + min_size(v * lanes + micro->order[x], r->count - 1);
            row[x] = p->a + i * p->lda;
            r->zero[v * lanes + x] = (uint32_t)p->azp[i * p->ldz];
        }
        micro->gather(row, p->k, r->panel + v * step, r->vectors * step);
    }
}

size_t qspmm_panels_units(const void *args, const qspmm_micro *micro)
{
    const qspmm_grid g = qspmm_panels_grid(args, micro);
    return g.panels * g.groups;
}

size_t qspmm_panels_scratch(const void *args, const qspmm_micro *micro)
{
    return qspmm_panels_workspace(args, micro, NULL, NULL);
}

void qspmm_panels_run(const void *args, size_t begin, size_t end, void *scratch, const qspmm_micro *micro)
{
    const pcx_qspmm_args *p = args;
    const qspmm_grid g = qspmm_panels_grid(p, micro);
    if (begin >= end)
        return;
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    qspmm_workspace r = { 0 };
    qspmm_panels_workspace(p, micro, scratch, &r);
    for (size_t u = begin; u < end; u++) {
        const size_t panel = u / g.groups, at = u % g.groups, j = at * QSP_NR, cols = min_size(QSP_NR, p->n - j);
        if (u == begin || !at)
            qspmm_panels_make(p, micro, qspmm_first(&g, panel), qspmm_first(&g, panel + 1), &r);
        micro->multiply(p, j, cols, &r);
        for (size_t c = 0; c < cols; c += QT_NR)
            micro->finish(p, &tail, j + c, min_size(cols - c, QT_NR), &r,
                          r.sums + c * r.vectors * micro->lanes * sizeof(int32_t));
    }
}

size_t qspmm_panels_prepared(const void *args)
{
    const pcx_qspmm_args *p = args;
    return qspmm_acc16_bytes(p->n, p->blocks);
}

void qspmm_panels_prepare(const void *args, void *prepared)
{
    const pcx_qspmm_args *p = args;
    qspmm_acc16_make(p->n, p->blocks, p->rows, p->index, p->w, prepared);
}
