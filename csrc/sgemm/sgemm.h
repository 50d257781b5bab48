/* sgemm.h - what sgemm and the kernels built on it share: panels of NR columns, blocks of rows. */
#ifndef PCX_SGEMM_H
#define PCX_SGEMM_H

#include "../common/pcx.h"

/*
 * More than SGEMM_DEEP products are summed in parts of SGEMM_DEEP, which are then added: the error grows with
 * SGEMM_DEEP + k / SGEMM_DEEP instead of k.  Up to SGEMM_DEEP products are one sum.
 */
enum { SGEMM_DEEP = 4096 };

enum { SGEMM_NR = 16, SGEMM_TALL = 6, SGEMM_MB = 16 * SGEMM_TALL };

/* What is common to all rows. */
typedef struct {
    const float *w; /* panels, ldw apart */
    size_t ldw, n;
    const pcx_epilogue *tail;
} sgemm_target;

/*
 * Rows to multiply.  The k numbers of row i lie from a[i] on as `lines` lines, `line_step` apart, of `runs`
 * runs, `run_step` apart, of `length` neighbours: a matrix row is one run, the window of a convolution kh
 * lines of kw runs of c.  Its n results go to out[i]; residual[i] is read only where there is a residual.
 * `fresh`: they may be the first that meet the weights, which then come from afar.
 */
typedef struct {
    size_t count;
    const float *a[SGEMM_MB], *residual[SGEMM_MB];
    float *out[SGEMM_MB];
    size_t lines, line_step, runs, run_step, length;
    int fresh;
} sgemm_rows;

/*
 * The units of work: blocks of at most `max_rows` rows (of SGEMM_MB), a multiple of mr, times groups of panels.  It
 * depends on the sizes alone, not on the threads.  Where rows are few, groups are small: a single row splits, too.
 */
typedef struct {
    size_t blocks, groups, rows, panels; /* rows of a block, panels of a group; the last ones may have less */
} sgemm_split;

PCX_HIDDEN sgemm_split sgemm_split_of(size_t m, size_t n, size_t k, size_t max_rows, size_t mr);

/* The micro-kernel of an ISA. */
typedef struct {
    size_t mr; /* rows of a tile: blocks are a multiple */
    void (*run)(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end); /* panels [begin, end) */
} sgemm_micro;

/* sgemm_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t sgemm_rows_units(const void *args, const sgemm_micro *micro);
PCX_HIDDEN size_t sgemm_rows_scratch(const void *args, const sgemm_micro *micro);
PCX_HIDDEN void sgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const sgemm_micro *micro);

/*
 * Panels of so many products do not stay in L2 from tile to tile, and come from afar for each: all rows of a block are
 * multiplied with SGEMM_DEEP products at a time, whose sums wait in scratch.  It depends on the sizes alone.
 */
enum { SGEMM_PANELS = 4, SGEMM_SUMS = 2 * SGEMM_MB * SGEMM_PANELS * SGEMM_NR }; /* panels at a time; floats of scratch */
static inline int sgemm_is_deep(const sgemm_split *s, size_t k, size_t mr) { return k > 2 * SGEMM_DEEP && s->rows > mr; }
PCX_HIDDEN void sgemm_rows_deep(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end,
                                const sgemm_micro *micro, float *scratch);

/* total += sum, and sum = 0. */
static inline void sgemm_deposit(float *sum, float *total)
{
    for (size_t v = 0; v < SGEMM_NR; v++) {
        total[v] += sum[v];
        sum[v] = 0;
    }
}

/* out[j] = act(sum[j] + residual[j]), one element at a time; no residual if NULL. */
PCX_HIDDEN void sgemm_finish(const pcx_epilogue *tail, const float *sum, const float *residual, float *out,
                             size_t columns);

/* One row: out[j] = act(a . w[j] + bias[j] + residual[j]) for all j; no residual if NULL. */
PCX_HIDDEN void sgemm_row(const float *a, size_t k, const sgemm_target *to, const float *residual, float *out);

/* Weights of any type, and the columns up to which products are narrow: ISAs may have another way for those. */
typedef enum { SGEMM_F32, SGEMM_F16, SGEMM_BF16 } sgemm_weights;
enum { SGEMM_NARROW = 8 };

#if PCX_X86
/* The panels [begin, end) of all rows: hgemm widens its weights for them. */
PCX_HIDDEN void sgemm_rows_avx2(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end);
PCX_HIDDEN void sgemm_rows_avx512(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end);
/* All rows, at most SGEMM_NARROW columns, with weights of any type. */
PCX_HIDDEN void sgemm_narrow_avx2(const sgemm_rows *rows, const sgemm_target *to, const void *w, sgemm_weights type);
#endif
#if PCX_ARM64
PCX_HIDDEN void sgemm_rows_neon(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end);
#endif

#endif
