/* qspmm.h - what the qspmm files share.  A unit is a panel of pixels times a group of outputs. */
#ifndef PCX_QSPMM_H
#define PCX_QSPMM_H

#include "../common/qepilogue.h"
#include "qspmm_acc16.h"

enum {
    QSP_PX = 8,     /* pixels of a vector: each four u8 of one block */
    QSP_MR = 6,     /* vectors of a panel, at most */
};

/* Panels of about equally many vectors. */
typedef struct {
    size_t vectors, panels, groups;
} qspmm_grid;

static inline qspmm_grid qspmm_split(const pcx_qspmm_args *p)
{
    /* A panel is read again for every output, so it should stay in the L1 cache. */
    const size_t bytes = max_size(ceil_div(p->k, 4), 1) * QSP_STEP;
    const size_t max = min_size(max_size(32768 / bytes, 1), QSP_MR);
    qspmm_grid g = { ceil_div(p->m, QSP_PX), 0, ceil_div(p->n, QSP_NR) };
    g.panels = ceil_div(g.vectors, max);
    return g;
}

/* The first vector of a panel. */
static inline size_t qspmm_first(const qspmm_grid *g, size_t panel) { return g->vectors * panel / g->panels; }

_Static_assert((int)QSP_NR % (int)QT_NR == 0 && QSP_STEP == 4 * QSP_PX, "a group's sums are rows of the tail");

PCX_HIDDEN pcx_run_fn qspmm_avx2;
PCX_HIDDEN pcx_size_fn qspmm_avx2_scratch, qspmm_prepared;
PCX_HIDDEN pcx_prepare_fn qspmm_prepare;

#endif
