/* qconv.h - what the qconv files share.  Coordinates are size_t: above or left of an image they wrap to huge numbers. */
#ifndef PCX_QCONV_H
#define PCX_QCONV_H

#include "../qgemm/qgemm_block.h"

/* Groups of `panels` panels times blocks of `rows` output pixels are the units. */
typedef struct {
    size_t pixels, steps; /* of the output; of four products each */
    size_t blocks, rows;
    size_t panels, groups;
} qconv_grid;

enum { QCONV_PANELS = 4 }; /* pixels next to padding are gathered once for so many */

/* Blocks are a multiple of mr rows, about `near` bytes of pixels gathered. */
static inline qconv_grid qconv_split(const pcx_qconv_args *p, size_t mr, size_t near)
{
    qconv_grid g = { .pixels = p->n ? p->b * p->oh * p->ow : 0, .steps = p->c ? p->kh * p->kw * ceil_div(p->c, 4) : 0 };
    const size_t max = min_size(max_size(near / 4 / max_size(g.steps, 1) / mr * mr, 24), 384);
    g.blocks = ceil_div(g.pixels, max);
    g.rows = g.blocks ? round_up(ceil_div(g.pixels, g.blocks), mr) : 0;
    g.blocks = g.rows ? ceil_div(g.pixels, g.rows) : 0; /* fewer than of `max` rows if that is no multiple of mr */
    g.panels = ceil_div(p->n, QGEMM_NR);
    g.groups = ceil_div(g.panels, QCONV_PANELS);
    return g;
}

/* How many steps stand side by side wherever a window begins, in place and gathered: a tap's, or those of a line. */
static inline size_t qconv_together(const pcx_qconv_args *p)
{
    const size_t tap = ceil_div(p->c, 4);
    return p->dw * p->ldx == 4 * tap ? p->kw * tap : tap;
}

/* Where the window of an output pixel begins in the image. */
typedef struct {
    size_t image, y, x;
} qconv_place;

static inline qconv_place qconv_at(const pcx_qconv_args *p, size_t pixel)
{
    const size_t line = pixel / p->ow;
    return (qconv_place){ line / p->oh, line % p->oh * p->sh - p->pt, pixel % p->ow * p->sw - p->pl };
}

/* The channels of the pixel at tap (ky, kx) of a window, or NULL in the padding. */
static inline const uint8_t *qconv_tap(const pcx_qconv_args *p, const qconv_place *at, size_t ky, size_t kx)
{
    const size_t y = at->y + ky * p->dh, x = at->x + kx * p->dw;
    return y < p->ih && x < p->iw ? p->x + ((at->image * p->ih + y) * p->iw + x) * p->ldx : NULL;
}

/* qconv_rows.c: the driver, for any micro-kernel of qgemm.  See PCX_DRIVER. */
PCX_HIDDEN size_t qconv_rows_units(const void *args, const qgemm_micro *micro);
PCX_HIDDEN size_t qconv_rows_scratch(const void *args, const qgemm_micro *micro);
PCX_HIDDEN void qconv_rows_run(const void *args, size_t begin, size_t end, void *scratch, const qgemm_micro *micro);

/* As qgemm_rows_prepared. */
PCX_HIDDEN pcx_size_fn qconv_rows_prepared;
PCX_HIDDEN pcx_prepare_fn qconv_rows_prepare;

#endif
