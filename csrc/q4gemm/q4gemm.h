/*
 * q4gemm.h - what the q4gemm files share.
 *
 * A unit is a block of rows times a few panels of 16 columns.  The driver (q4gemm_rows.c) splits the work; a
 * micro-kernel, one for each ISA but AMX, unpacks weights and multiplies.  Few rows meet weights that are unpacked into
 * registers, unsigned, and have their codes made signed for that; for many, a panel is unpacked into scratch, signed,
 * and the rows serve as they are.  Either way sums of (a - 128) and (w - zero) come out, exact.
 */
#ifndef PCX_Q4GEMM_H
#define PCX_Q4GEMM_H

#include "../common/half.h"
#include "../common/qepilogue.h"

enum {
    Q4_NR = 16,
    Q4_MR = 6,
    Q4_STEP = 32,  /* bytes of four k of a panel: columns 0 to 7 in the low four bits, 8 to 15 in the high ones */
    Q4_CHUNK = 8,  /* steps whose products int16 holds */
    Q4_FEW = 6,    /* rows up to which weights are unpacked for one use only */
    Q4_TOGETHER = 48, /* rows whose sums are finished together */
    Q4_PANELS = 4  /* panels of a unit, at most, on any ISA */
};

typedef struct {
    size_t blocks, rows, panels; /* of all columns */
    size_t groups;               /* of panels */
} q4gemm_grid;

/* Groups of at most `together` panels. */
static inline q4gemm_grid q4gemm_split(const pcx_q4gemm_args *p, size_t together)
{
    /* Rows share an unpacked panel, which costs as much as two or three rows, but should stay in the cache. */
    const size_t max = min_size(max_size(98304 / max_size(p->k, 1) / Q4_MR * Q4_MR, 96), 384);
    q4gemm_grid g = { ceil_div(p->m, max), 0, ceil_div(p->n, Q4_NR), 0 };
    g.rows = g.blocks ? round_up(ceil_div(p->m, g.blocks), Q4_MR) : 0;
    g.groups = ceil_div(g.panels, together);
    return g;
}

static inline size_t q4gemm_groups(const pcx_q4gemm_args *p) { return p->k ? ceil_div(p->k, p->group) : 0; }

/* Where group g of several ends, in steps; the last one, which may be the only one, takes what is left. */
PCX_INLINE size_t q4gemm_group_end(const pcx_q4gemm_args *p, size_t g, size_t groups, size_t steps)
{
    return g + 1 < groups ? (g + 1) * (p->group / 4) : steps;
}

/*
 * What a thread needs, cut from its scratch.  Parts are those that a micro-kernel sums in one go: chunks, or groups.
 * What lies in the last four is the micro-kernel's own business.
 */
typedef struct {
    const uint8_t **row; /* of a block, to whole tiles */
    uint8_t *copy;       /* rows of whole chunks */
    size_t copy_step;    /* bytes from one to the next */
    size_t parts;
    void *sums;          /* few rows: four bytes of each row and part */
    int8_t *w;           /* many: panels of 64 bytes a step, to whole chunks */
    void *start;         /* 64 bytes of each panel and part */
    float *scale;        /* [panels][groups][16] */
} q4gemm_workspace;

typedef float (*q4gemm_sums)[Q4_NR]; /* v[row][column]; a panel's are Q4_TOGETHER rows */

typedef struct {
    size_t few, many; /* panels of a unit */
    int by_group;     /* parts are groups, else chunks of Q4_CHUNK steps */
    /* row r of `copy`, of whole chunks and 128 beyond k, made signed; its `sums` */
    void (*sign)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t r);
    /* v of `rows` signed rows with panels [panel, + count) */
    void (*run_few)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t rows, size_t panel, size_t count,
                    q4gemm_sums v);
    /* panels [panel, + count) to `w`, `start` and `scale` */
    void (*unpack)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t panel, size_t count);
    /* v of row[0] to row[rows - 1], at most Q4_MR, with `count` unpacked panels */
    void (*run_many)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, const uint8_t *const *row, size_t rows,
                     size_t count, q4gemm_sums v);
    /* v, of one panel, to rows [i, i + rows) of the output */
    void (*finish)(const pcx_q4gemm_args *p, const qepilogue *tail, size_t panel, size_t i, size_t rows, q4gemm_sums v);
} q4gemm_micro;

/* q4gemm_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t q4gemm_rows_units(const void *args, const q4gemm_micro *micro);
PCX_HIDDEN size_t q4gemm_rows_scratch(const void *args, const q4gemm_micro *micro);
PCX_HIDDEN void q4gemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const q4gemm_micro *micro);

#if PCX_X86
/* q4gemm_tail_avx2.c: for all ISAs of x86-64. */
PCX_HIDDEN void q4gemm_tail_avx2(const pcx_q4gemm_args *p, const qepilogue *tail, size_t panel, size_t i, size_t rows,
                                 q4gemm_sums v);

/* q4gemm_amx.c: a row of its own. */
PCX_HIDDEN pcx_size_fn q4gemm_amx_units, q4gemm_amx_scratch;
PCX_HIDDEN pcx_run_fn q4gemm_amx;
#endif

#endif
