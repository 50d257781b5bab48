/*
 * qgemm_block.h - a block of rows of u8, given by their addresses, times panels of packed weights.
 * qgemm's rows are those of `a`; qconv's are pixels, read in place if their windows contain no padding.
 *
 * A driver (qgemm_rows.c, qconv_rows.c) makes blocks; a micro-kernel, one for each ISA, multiplies them.
 */
#ifndef PCX_QGEMM_BLOCK_H
#define PCX_QGEMM_BLOCK_H

#include "../common/qepilogue.h"
#include "qgemm_acc16.h"

enum { QGEMM_MR_MAX = 16 };    /* rows of a tile, on any ISA */
enum { QGEMM_NEAR = 24576 };   /* bytes of rows in a block: read again for every panel, so they should stay near */

typedef struct {
    size_t i, rows;                  /* output rows [i, i + rows) */
    const uint8_t *const *row;       /* [round_up(rows, mr)]; repeats the last row beyond `rows` */
    size_t even;                     /* so many rows, at least, lie equally far apart */
    const ptrdiff_t *table;          /* where steps are, from a row on; NULL: four bytes apart */
    const unsigned char *in_place;   /* of each tile of mr rows: are its steps where `table` says? */
    size_t mr;                       /* rows of a tile of `in_place` */
    size_t together;                 /* so many steps in a row are four bytes apart wherever they stand */
    int32_t azp;                     /* zero point of every row, unless `zero` */
    const int32_t *zero;             /* zero point of each row, or NULL */
    const uint32_t *row_sum;         /* sum of each row, NULL where wzp is NULL */
    size_t k, steps, n;              /* products per output, in `steps` steps of four with padding */
    const int8_t *w;                 /* [ceil(n/16),steps,16,4] */
    const int32_t *colsum, *wzp;
    const void *prepared;            /* what the micro-kernel's row of the table prepared of all panels, or NULL */
    char *scratch;                   /* the micro-kernel's, aligned to 64 */
    const qepilogue *tail;
    void *out;
    size_t ldo;
} qgemm_block;

typedef struct {
    size_t mr;                                                  /* rows of a tile */
    size_t panels;                                              /* panels of a call of `run`, at most */
    size_t (*scratch)(size_t steps);                            /* bytes; NULL: none */
    void (*run)(const qgemm_block *b, size_t panel, size_t count); /* the block's outputs in panels [panel, + count) */
    /* What only some need; 0: nothing of it. */
    size_t rows;                             /* blocks of qgemm are multiples of so many rows, not of mr */
    size_t near;                             /* bytes of a block's rows, about, instead of QGEMM_NEAR */
    size_t (*group)(size_t steps);           /* panels of a call in a matrix' product, instead of `panels` */
    int lines;                               /* of pixels read in place those of a tile are of one line */
    void (*enter)(const qgemm_block *b);     /* before the first call of `run`: `i` and `rows` are still 0 */
    void (*leave)(const qgemm_block *b);     /* after the last */
} qgemm_micro;

/* The start values of a panel's 16 columns; columns beyond n are zero. */
typedef struct {
    uint32_t base[QGEMM_NR];              /* less what depends on the row: */
    uint32_t zero[QGEMM_NR], w[QGEMM_NR]; /* times the row's zero point and times its sum */
} qgemm_columns;

/* acc = sum a w - azp (colsum - k wzp) - wzp sum a + bias */
PCX_INLINE void qgemm_columns_make(const qgemm_block *b, size_t j, size_t cols, qgemm_columns *c)
{
    memset(c, 0, sizeof *c);
    for (size_t x = 0; x < cols; x++) {
        const uint32_t zw = b->wzp ? (uint32_t)b->wzp[j + x] : 0;
        c->zero[x] = (uint32_t)b->colsum[j + x] - (uint32_t)b->k * zw;
        c->w[x] = zw;
        c->base[x] = b->tail->bias ? (uint32_t)b->tail->bias[j + x] : 0;
        c->base[x] -= b->zero ? 0 : (uint32_t)b->azp * c->zero[x];
    }
}

/* Where the sums of the rows [r, r + mr) of the block start. */
PCX_INLINE void qgemm_start_rows(const qgemm_block *b, size_t r, size_t mr, const qgemm_columns *c,
                                 int32_t start[][QGEMM_NR])
{
    for (size_t x = 0; x < mr; x++) {
        const size_t row = min_size(r + x, b->rows - 1);
        const uint32_t za = b->zero ? (uint32_t)b->zero[row] : 0, sum = b->row_sum ? b->row_sum[row] : 0;
        for (size_t y = 0; y < QGEMM_NR; y++)
            start[x][y] = (int32_t)(c->base[y] - za * c->zero[y] - sum * c->w[y]);
    }
}

/* The first panel of a group: groups are as equal as can be. */
static inline size_t qgemm_group_begin(size_t panels, size_t groups, size_t group) { return panels * group / groups; }

/* How many whole tiles from row r on are read the same way. */
static inline size_t qgemm_whole_tiles(const qgemm_block *b, size_t r, size_t mr)
{
    const size_t all = b->rows / mr, first = r / mr;
    size_t tile = first;
    while (tile < all && (!b->table || b->in_place[tile] == b->in_place[first]))
        tile++;
    return tile - first;
}

#endif
