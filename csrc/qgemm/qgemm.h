/* qgemm.h - what the qgemm files share.  A unit is a block of rows times one panel of 16 columns. */
#ifndef PCX_QGEMM_H
#define PCX_QGEMM_H

#include "../common/qepilogue.h"
#include "qgemm_acc16.h"

/* Rows of a unit: at most `rows`, a multiple of the tile's six; the blocks are about equal. */
typedef struct {
    size_t blocks, rows, panels;
} qgemm_grid;

static inline qgemm_grid qgemm_split(const pcx_qgemm_args *p)
{
    /* About 24 KiB of `a`: read again for every panel, so it should stay near. */
    const size_t most = min_size(max_size(24576 / max_size(p->k, 1) / 6 * 6, 48), 384);
    qgemm_grid g = { ceil_div(p->m, most), 0, ceil_div(p->n, QGEMM_NR) };
    g.rows = g.blocks ? round_up(ceil_div(p->m, g.blocks), 6) : 0;
    return g;
}

PCX_HIDDEN pcx_run_fn qgemm_avx2;
PCX_HIDDEN pcx_size_fn qgemm_avx2_scratch, qgemm_prepared;
PCX_HIDDEN pcx_prepare_fn qgemm_prepare;

#endif
