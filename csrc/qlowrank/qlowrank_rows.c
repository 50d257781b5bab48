/* qlowrank_rows.c - the driver: block by block of rows through a micro-kernel. */
#include "qlowrank.h"

/* The first product, of at most `rows` rows from row i on. */
static pcx_qgemm_args qlowrank_rows_first(const pcx_qlowrank_args *p, size_t i, size_t rows, int32_t *sum)
{
    return (pcx_qgemm_args){ .m = min_size(rows, p->m - i), .lda = p->lda, .k = p->k, .a = p->a + i * p->lda,
                             .azp = p->azp, .n = p->r, .w = p->w, .colsum = p->colsum,
                             .tail = { .bias = p->mid_bias }, .prepared = p->prepared, .ldo = qlowrank_width(p),
                             .ot = PCX_I32, .out = sum };
}

/* The bytes of a workspace; with `scratch`, also the workspace. */
static size_t qlowrank_rows_workspace(const pcx_qlowrank_args *p, const qlowrank_micro *micro, char *scratch,
                                      qlowrank_workspace *r)
{
    const size_t rows = lowrank_block(p->m), width = qlowrank_width(p);
    const size_t h = round_up(rows * width * sizeof *r->sum, 64);
    const size_t wide = h + round_up((rows + 1) * width * sizeof *r->h, 64);
    const size_t first = wide + QLOWRANK_PANELS * round_up(ceil_div(p->r, 2) * QLOWRANK_STEP * sizeof *r->wide, 64);
    if (scratch)
        *r = (qlowrank_workspace){ (int32_t *)(void *)scratch, (int16_t *)(void *)(scratch + h),
                                   (int16_t *)(void *)(scratch + wide), scratch + first };
    const pcx_qgemm_args product = qlowrank_rows_first(p, 0, rows, NULL);
    return first + qgemm_rows_scratch(&product, micro->first);
}

size_t qlowrank_rows_units(const void *args, const qlowrank_micro *micro)
{
    const pcx_qlowrank_args *p = args;
    (void)micro;
    return p->n ? ceil_div(p->m, lowrank_block(p->m)) : 0;
}

size_t qlowrank_rows_scratch(const void *args, const qlowrank_micro *micro)
{
    return qlowrank_rows_workspace(args, micro, NULL, NULL);
}

void qlowrank_rows_run(const void *args, size_t begin, size_t end, void *scratch, const qlowrank_micro *micro)
{
    const pcx_qlowrank_args *p = args;
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    const size_t block = lowrank_block(p->m), panels = ceil_div(p->n, QGEMM_NR);
    qlowrank_workspace r = { 0 };
    qlowrank_rows_workspace(p, micro, scratch, &r);
    for (size_t i = begin * block; i < min_size(end * block, p->m); i += block) {
        const pcx_qgemm_args first = qlowrank_rows_first(p, i, block, r.sum);
        qgemm_rows_run(&first, 0, qgemm_rows_units(&first, micro->first), r.first, micro->first);
        micro->halve(p, &r, first.m);
        for (size_t panel = 0; panel < panels; panel += micro->panels)
            micro->second(p, &tail, &r, i, first.m, panel, min_size(micro->panels, panels - panel));
    }
}

static pcx_qgemm_args qlowrank_rows_weights(const pcx_qlowrank_args *p)
{
    return (pcx_qgemm_args){ .k = p->k, .n = p->r, .w = p->w };
}

size_t qlowrank_rows_prepared(const void *args)
{
    const pcx_qgemm_args first = qlowrank_rows_weights(args);
    return qgemm_rows_prepared(&first);
}

void qlowrank_rows_prepare(const void *args, void *prepared)
{
    const pcx_qgemm_args first = qlowrank_rows_weights(args);
    qgemm_rows_prepare(&first, prepared);
}
