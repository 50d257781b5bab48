/*
 * qlowrank.h - what the qlowrank files share.
 *
 * A unit is a block of rows through both products: qgemm to int32, rounded to int16, times v.  The driver
 * (qlowrank_rows.c) does the first with a micro-kernel of qgemm; what an ISA has of its own is the rest.
 */
#ifndef PCX_QLOWRANK_H
#define PCX_QLOWRANK_H

#include "../lowrank/lowrank.h"
#include "../qgemm/qgemm.h"

enum {
    QLOWRANK_STEP = 32,     /* bytes of a step of v: 16 columns, 2 of r */
    QLOWRANK_MOST = 32767,
    QLOWRANK_PANELS = 2     /* panels of v that are widened together, at most, on any ISA */
};

/* What a thread needs for a block, cut from its scratch. */
typedef struct {
    int32_t *sum;  /* [rows, width]: of the first product */
    int16_t *h;    /* [rows + 1, width] */
    int16_t *wide; /* [QLOWRANK_PANELS, ceil(r/2), 16, 2]: of v */
    char *first;   /* qgemm's own */
} qlowrank_workspace;

/* r in whole panels, so that rounding and the last pair of r need no end of their own. */
static inline size_t qlowrank_width(const pcx_qlowrank_args *p) { return round_up(p->r, QGEMM_NR); }

typedef struct {
    const qgemm_micro *first;
    size_t panels; /* of a call of `second`, at most */
    /* h = round(clamp(sum * scale)) for `rows` rows; what lies beyond r becomes zero */
    void (*halve)(const pcx_qlowrank_args *p, const qlowrank_workspace *r, size_t rows);
    /* `rows` rows of h, which are rows i and so on of the output, times panels [panel, + count) of v */
    void (*second)(const pcx_qlowrank_args *p, const qepilogue *tail, const qlowrank_workspace *r, size_t i,
                   size_t rows, size_t panel, size_t count);
} qlowrank_micro;

/* qlowrank_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t qlowrank_rows_units(const void *args, const qlowrank_micro *micro);
PCX_HIDDEN size_t qlowrank_rows_scratch(const void *args, const qlowrank_micro *micro);
PCX_HIDDEN void qlowrank_rows_run(const void *args, size_t begin, size_t end, void *scratch,
                                  const qlowrank_micro *micro);

/* Int16 accumulation of the first product, for table rows that need it. */
PCX_HIDDEN pcx_size_fn qlowrank_rows_prepared;
PCX_HIDDEN pcx_prepare_fn qlowrank_rows_prepare;

#endif
