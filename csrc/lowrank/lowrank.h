/* lowrank.h - what the lowrank files share: two products of sgemm, rows of the first one's result in scratch. */
#ifndef PCX_LOWRANK_H
#define PCX_LOWRANK_H

#include "../sgemm/sgemm.h"

/* The two factors as sgemm takes them. */
typedef struct {
    pcx_epilogue mid;
    sgemm_target u, v;
} lowrank_factors;

static inline void lowrank_factors_make(const pcx_lowrank_args *p, lowrank_factors *f)
{
    f->mid = (pcx_epilogue){ .bias = p->mid_bias, .act = p->mid_act, .act_params = p->mid_params };
    f->u = (sgemm_target){ p->u, p->k * SGEMM_NR, p->r, &f->mid };
    f->v = (sgemm_target){ p->v, p->r * SGEMM_NR, p->n, &p->tail };
}

/* A row of scratch, in floats: whole vectors, and never none. */
static inline size_t lowrank_width(const pcx_lowrank_args *p) { return round_up(max_size(p->r, 1), SGEMM_NR); }

/*
 * Rows of a block: enough to make reading the weights worthwhile, and so few that h stays in the cache for the second
 * product.  Blocks are about equal and their number is even, so that no thread waits long for another.
 */
static inline size_t lowrank_block(size_t m)
{
    enum { MAX = 8 * SGEMM_TALL, MIN = 4 * SGEMM_TALL };
    const size_t blocks = round_up(max_size(ceil_div(m, MAX), 1), m < 4 * MIN ? 2 : 4);
    return max_size(ceil_div(m, blocks), MIN);
}

/* lowrank_rows.c: the driver, for any micro-kernel of sgemm.  See PCX_DRIVER. */
PCX_HIDDEN size_t lowrank_rows_units(const void *args, const sgemm_micro *micro);
PCX_HIDDEN size_t lowrank_rows_scratch(const void *args, const sgemm_micro *micro);
PCX_HIDDEN void lowrank_rows_run(const void *args, size_t begin, size_t end, void *scratch, const sgemm_micro *micro);

#endif
