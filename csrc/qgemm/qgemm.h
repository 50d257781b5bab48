/* qgemm.h - what the qgemm files, and the kernels built on it, share. */
#ifndef PCX_QGEMM_H
#define PCX_QGEMM_H

#include "qgemm_block.h"

/*
 * The units: blocks of at most `rows` rows, a multiple of a tile's mr and about equal, times groups of `together`
 * panels.  Whole groups come first, since 64 columns take the epilogue no longer than 48.
 */
typedef struct {
    size_t blocks, rows, panels, together, groups;
} qgemm_grid;

/* Blocks of about `near` bytes of `a`. */
static inline qgemm_grid qgemm_split(const pcx_qgemm_args *p, size_t mr, size_t panels, size_t near)
{
    const size_t max = min_size(max_size(near / max_size(p->k, 1) / mr * mr, 48), 384);
    qgemm_grid g = { .rows = round_up(ceil_div(p->m, max_size(ceil_div(p->m, max), 1)), mr), .together = panels };
    g.blocks = g.rows ? ceil_div(p->m, g.rows) : 0; /* fewer than of `max` rows if that is no multiple of mr */
    g.panels = ceil_div(p->n, QGEMM_NR);
    g.groups = ceil_div(g.panels, panels);
    return g;
}

/* qgemm_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t qgemm_rows_units(const void *args, const qgemm_micro *micro);
PCX_HIDDEN size_t qgemm_rows_scratch(const void *args, const qgemm_micro *micro);
PCX_HIDDEN void qgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const qgemm_micro *micro);

/* Int16 accumulation, for table rows that need it: `prepared` is qgemm_acc16[panels]. */
PCX_HIDDEN pcx_size_fn qgemm_rows_prepared;
PCX_HIDDEN pcx_prepare_fn qgemm_rows_prepare;

/* For the row i8mm: `prepared` is the weights zipped, qgemm_i8mm.c. */
PCX_HIDDEN pcx_size_fn qgemm_i8mm_prepared;
PCX_HIDDEN pcx_prepare_fn qgemm_i8mm_prepare;

#endif
