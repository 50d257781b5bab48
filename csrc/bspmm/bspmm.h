/* bspmm.h - what the bspmm files share. */
#ifndef PCX_BSPMM_H
#define PCX_BSPMM_H

#include "../sgemm/sgemm.h"

typedef struct {
    size_t mr; /* rows of a tile, at most: blocks are a multiple */
    /*
     * `count` rows, at most mr, from `first` on times panels [begin, end); `half`: of the one panel there are at most
     * eight columns
     */
    void (*run)(const pcx_bspmm_args *p, const sgemm_rows *rows, size_t first, size_t count, size_t begin, size_t end,
                int half);
} bspmm_micro;

/* How many blocks a panel has; none where `rows` falls. */
static inline size_t bspmm_blocks(const int32_t *rows) { return rows[1] > rows[0] ? (size_t)(rows[1] - rows[0]) : 0; }

/* bspmm_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t bspmm_rows_units(const void *args, const bspmm_micro *micro);
PCX_HIDDEN size_t bspmm_rows_scratch(const void *args, const bspmm_micro *micro);
PCX_HIDDEN void bspmm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const bspmm_micro *micro);

#endif
