/* q4gemm.h - what the q4gemm files share.  A unit is a block of rows times one panel of 16 columns. */
#ifndef PCX_Q4GEMM_H
#define PCX_Q4GEMM_H

#include "../common/half.h"
#include "../common/qepilogue.h"

enum {
    Q4_NR = 16,
    Q4_MR = 6,
    Q4_STEP = 32,  /* bytes of four k of a panel: columns 0 to 7 in the low four bits, 8 to 15 in the high ones */
    Q4_CHUNK = 8, /* steps whose products fit int16 */
    Q4_DIRECT = 6  /* up to so many rows, weights are unpacked into registers for one use */
};

typedef struct {
    size_t blocks, rows, panels;
} q4gemm_grid;

static inline q4gemm_grid q4gemm_split(const pcx_q4gemm_args *p)
{
    /* Rows share an unpacked panel, which costs as much as two or three rows, but should stay in the cache. */
    const size_t max = min_size(max_size(98304 / max_size(p->k, 1) / Q4_MR * Q4_MR, 96), 384);
    q4gemm_grid g = { ceil_div(p->m, max), 0, ceil_div(p->n, Q4_NR) };
    g.rows = g.blocks ? round_up(ceil_div(p->m, g.blocks), Q4_MR) : 0;
    return g;
}

PCX_HIDDEN pcx_size_fn q4gemm_units;
PCX_HIDDEN pcx_run_fn q4gemm_avx2;
PCX_HIDDEN pcx_size_fn q4gemm_avx2_scratch;

#endif
