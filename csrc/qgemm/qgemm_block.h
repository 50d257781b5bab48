/*
 * qgemm_block.h - a block of rows of u8, wherever they stand, times panels of packed weights.
 * qgemm's rows are those of `a`; qconv's are pixels, read in place where no padding meets them.
 */
#ifndef PCX_QGEMM_BLOCK_H
#define PCX_QGEMM_BLOCK_H

#include "../common/qepilogue.h"
#include "qgemm_acc16.h"

enum { QGEMM_MR = 6 };

typedef struct {
    size_t i, rows;                  /* output rows [i, i + rows) */
    const uint8_t *const *row;       /* [round_up(rows, 6)]; repeats the last row beyond `rows` */
    const ptrdiff_t *table;          /* where steps are, from a row on; NULL: four bytes apart */
    const unsigned char *in_place;   /* of each tile of 6 rows: are its steps where `table` says? */
    int32_t azp;                     /* zero point of every row, unless `zero` */
    const int32_t *zero;             /* zero point of each row, or NULL */
    const uint32_t *row_sum;         /* sum of each row, NULL where wzp is NULL */
    size_t k, steps, n;              /* products per output, in `steps` steps of four with padding */
    const int8_t *w;                 /* [ceil(n/16),steps,16,4] */
    const int32_t *colsum, *wzp;
    const qgemm_acc16 *proof;             /* [ceil(n/16)] or NULL */
    char *scratch;                   /* qgemm_block_scratch(steps) bytes */
    const qtail *tail;
    void *out;
    size_t ldo;
} qgemm_block;

/* The panel widened; where the steps of its rest are, by table and without. */
static inline size_t qgemm_wide(size_t steps) { return steps * 2 * QGEMM_STEP; }
static inline size_t qgemm_block_scratch(size_t steps)
{
    return qgemm_wide(steps) + 2 * qgemm_acc16_rest(steps) * sizeof(ptrdiff_t);
}

/* One tile's operands. */
typedef struct {
    const uint8_t *const *row; /* QGEMM_MR rows; step s of a row is 4 bytes at offset[s], or at 4 s */
    const ptrdiff_t *offset;
    size_t steps, window;            /* qgemm_acc16_part's */
    const int8_t *w;                 /* of these steps */
    const int16_t *start, *wide;     /* qgemm_acc16_part's; by qgemm_widen, where window is 0 */
    const int32_t (*from)[QGEMM_NR]; /* where the sums of each row start */
    int32_t (*sum)[QGEMM_NR];        /* where they end */
} qgemm_tile;

/* Every output of the block in the 16 columns of one panel. */
PCX_HIDDEN void qgemm_panel_avx2(const qgemm_block *b, size_t panel);

#endif
