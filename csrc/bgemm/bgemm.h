/* bgemm.h - what bgemm and bconv share: blocks of rounded rows, panels of pairs, tiles of sums. */
#ifndef PCX_BGEMM_H
#define PCX_BGEMM_H

#include "../sgemm/sgemm.h"

enum {
    BGEMM_PAIRS = 2 * SGEMM_NR,  /* numbers in a step of a panel: a pair for each of its columns */
    BGEMM_DEEP = SGEMM_DEEP / 2, /* steps that are summed at once; see sgemm.h */
    BGEMM_WIDE = 4,              /* panels of a tile, at most */
    BGEMM_SUMS = 24 * SGEMM_NR   /* sums of a tile, at most */
};

/* Numbers to round: `windows` of `lines` of `count` neighbours, steps in floats.  A matrix has a line in each. */
typedef struct {
    const float *from;
    size_t windows, window_step, lines, line_step, count;
} bgemm_source;

/* What all rows meet. */
typedef struct {
    const uint16_t *w; /* panels, ldw apart */
    size_t ldw, n;
    const pcx_epilogue *tail;
} bgemm_target;

/* A block of rows. */
typedef struct {
    size_t count;
    float *out;            /* of the first row */
    const float *residual; /* as well, or NULL */
    size_t ldo, ldr;
    const char *a;         /* the rows, rounded: `steps` pairs each, the last one filled up with zero */
    size_t lda, steps;     /* bytes from one to the next */
    int fresh;             /* they may be the first that meet the weights, which then come from afar */
    void *panel;           /* the micro-kernel's own: `panel` bytes for each of an even number of steps */
} bgemm_rows;

/* What an ISA has of its own. */
typedef struct {
    size_t mr;    /* blocks are a multiple: scratch holds as many rows, of which the last may be nonsense */
    size_t bytes; /* of a rounded number: 2, bfloat16; 4, the float that it is */
    void (*round)(const bgemm_source *source, char *to, size_t lda); /* window after window, lda bytes apart */
    void (*run)(const bgemm_rows *rows, const bgemm_target *to, size_t begin, size_t end); /* panels [begin, end) */
    size_t panel; /* bytes of scratch for each step of a panel, if it makes one of its own; else 0 */
} bgemm_micro;

/* Rows from `first` on times panels, for steps [from, from + steps): sums, row after row, which begin at start. */
typedef void bgemm_tile(const bgemm_rows *rows, size_t first, const uint16_t *w, size_t ldw, size_t from, size_t steps,
                        const float *start, float *sum);

/* out = act(sum + residual) for `count` rows from `first` on and at most `width` columns from `column` on. */
typedef void bgemm_finish(const bgemm_rows *rows, size_t first, size_t count, const bgemm_target *to, size_t column,
                          float *sum, size_t width);

/* The tiles of an ISA that has them in registers. */
typedef struct {
    size_t (*wide)(size_t count, size_t panels); /* how many of so many panels a tile of a block takes */
    size_t tall[BGEMM_WIDE + 1];                 /* rows of a tile, at most, by its panels */
    bgemm_tile *const *tile[BGEMM_WIDE + 1];     /* by its panels and rows */
    bgemm_finish *finish;
} bgemm_shapes;

/* bgemm_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t bgemm_rows_units(const void *args, const bgemm_micro *micro);
PCX_HIDDEN size_t bgemm_rows_scratch(const void *args, const bgemm_micro *micro);
PCX_HIDDEN void bgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const bgemm_micro *micro);

/* `count` rows from `first` on as sgemm's epilogues take them. */
PCX_HIDDEN void bgemm_rows_at(const bgemm_rows *r, size_t first, size_t count, sgemm_rows *at);

/* The units [begin, end) of `m` rows of `k` numbers; `round` makes the rows of a block: `count` from `first` on. */
typedef void bgemm_round(const void *args, size_t first, size_t count, char *to, size_t lda, const bgemm_micro *micro);
PCX_HIDDEN void bgemm_rows_blocks(const void *args, bgemm_round *round, const bgemm_target *to, float *out, size_t ldo,
                                  size_t m, size_t k, size_t begin, size_t end, char *scratch,
                                  const bgemm_micro *micro);

/* The units of work, whose blocks stay in the L2 cache; and the bytes of a block of rounded rows. */
PCX_HIDDEN sgemm_split bgemm_split_of(size_t m, size_t n, size_t k, const bgemm_micro *micro);
PCX_HIDDEN size_t bgemm_scratch_of(size_t m, size_t n, size_t k, const bgemm_micro *micro);

/* For a micro-kernel's `run`: all rows times the panels [begin, end), in these tiles. */
PCX_HIDDEN void bgemm_tiles(const bgemm_rows *rows, const bgemm_target *to, size_t begin, size_t end,
                            const bgemm_shapes *shapes);

/* Where the sums of `wide` panels from `panel` on start: the bias, zero beyond n. */
PCX_HIDDEN void bgemm_start(const bgemm_target *to, size_t panel, size_t wide, float *start);

#if PCX_X86
/* For all ISAs of 512 bits, and for those with bfloat16. */
PCX_HIDDEN bgemm_finish bgemm_avx512_finish;
PCX_HIDDEN void bgemm_avx512bf16_round(const bgemm_source *source, char *to, size_t lda);
#endif

#endif
