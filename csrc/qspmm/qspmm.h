/*
 * qspmm.h - what the qspmm files share.
 *
 * A unit is a panel of pixels, u8[k/4][pixel][4], times a group of outputs.  The driver (qspmm_panels.c) makes panels;
 * a micro-kernel, one for each ISA, multiplies them.
 */
#ifndef PCX_QSPMM_H
#define PCX_QSPMM_H

#include "../common/qepilogue.h"
#include "qspmm_acc16.h"

enum {
    QSP_LANES_MAX = 16, /* pixels of a vector, on any ISA: each four u8 of one block */
    QSP_VECTORS_MAX = 8 /* vectors of a panel */
};

/* Panels of about equally many vectors. */
typedef struct {
    size_t vectors, panels, groups;
} qspmm_grid;

/* Of `lanes` pixels a vector; panels of min to max vectors. */
static inline qspmm_grid qspmm_split(const pcx_qspmm_args *p, size_t lanes, size_t min, size_t max)
{
    /* A panel is read again for every output: it should stay in the L1 cache. */
    const size_t bytes = max_size(ceil_div(p->k, 4), 1) * lanes * 4;
    const size_t count = min_size(max_size(32768 / bytes, min), max);
    qspmm_grid g = { ceil_div(p->m, lanes), 0, ceil_div(p->n, QSP_NR) };
    g.panels = ceil_div(g.vectors, count);
    return g;
}

/* The first vector of a panel. */
static inline size_t qspmm_first(const qspmm_grid *g, size_t panel) { return g->vectors * panel / g->panels; }

_Static_assert((int)QSP_NR % (int)QT_NR == 0, "a group's sums are rows of the tail");

/* What a thread keeps of the panel it is at. */
typedef struct {
    uint8_t *panel; /* [steps][vectors][lanes][4] */
    uint8_t *sums;  /* i32[QSP_NR][vectors][lanes], and as much as a panel's longest row behind them */
    uint32_t *zero; /* of each pixel; where ldz is 0, all are zero[0] */
    size_t i, count; /* its pixels */
    size_t vectors;
} qspmm_workspace;

typedef struct {
    size_t lanes, min, max; /* pixels of a vector; vectors of a panel, unless there are less: see qspmm_split */
    unsigned char order[QSP_LANES_MAX]; /* which of a vector's pixels stands at each place */
    /* a vector of pixels, as they stand, to the panel at `to`, steps `step` bytes apart; zeros follow the last of k */
    void (*gather)(const uint8_t *const *row, size_t k, uint8_t *to, size_t step);
    /* sums of the outputs [j, j + cols) */
    void (*multiply)(const pcx_qspmm_args *p, size_t j, size_t cols, const qspmm_workspace *r);
    /* `sums` of the outputs [j, j + cols), at most 16, to the output */
    void (*finish)(const pcx_qspmm_args *p, const qepilogue *tail, size_t j, size_t cols, const qspmm_workspace *r,
                   const uint8_t *sums);
} qspmm_micro;

/* qspmm_panels.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t qspmm_panels_units(const void *args, const qspmm_micro *micro);
PCX_HIDDEN size_t qspmm_panels_scratch(const void *args, const qspmm_micro *micro);
PCX_HIDDEN void qspmm_panels_run(const void *args, size_t begin, size_t end, void *scratch, const qspmm_micro *micro);

/* Int16 accumulation, for table rows that need it. */
PCX_HIDDEN pcx_size_fn qspmm_panels_prepared;
PCX_HIDDEN pcx_prepare_fn qspmm_panels_prepare;

#if PCX_ARM64
/* qspmm_neon.c */
PCX_HIDDEN pcx_size_fn qspmm_neon_prepared;
PCX_HIDDEN pcx_prepare_fn qspmm_neon_prepare;
#endif

#if PCX_X86
/* qspmm_avx2.c: for all ISAs of x86-64; vectors of 8 pixels.  Shuffles of 512 bits would take as long. */
PCX_HIDDEN void qspmm_avx2_gather(const uint8_t *const *row, size_t k, uint8_t *to, size_t step);
PCX_HIDDEN void qspmm_avx2_finish(const pcx_qspmm_args *p, const qepilogue *tail, size_t j, size_t cols,
                                  const qspmm_workspace *r, const uint8_t *sums);
#endif

#endif
