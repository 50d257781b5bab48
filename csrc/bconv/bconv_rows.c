/*
 * bconv_rows.c - the driver: the windows of a block of output pixels, rounded into scratch, through a micro-kernel of
 * bgemm.  Neighbours in a line whose windows lie inside the image are rounded at once.
 */
#include "bconv.h"

static size_t bconv_rows_k(const pcx_bconv_args *p) { return p->kh * p->kw * p->c; }

size_t bconv_rows_units(const void *args, const bgemm_micro *micro)
{
    const pcx_bconv_args *p = args;
    const sgemm_split s = bgemm_split_of(p->b * p->oh * p->ow, p->n, bconv_rows_k(p), micro);
    return s.blocks * s.groups;
}

size_t bconv_rows_scratch(const void *args, const bgemm_micro *micro)
{
    const pcx_bconv_args *p = args;
    return bgemm_scratch_of(p->b * p->oh * p->ow, p->n, bconv_rows_k(p), micro);
}

/* `count` windows that lie inside, from (y, x) of an image on. */
static void bconv_rows_inside(const pcx_bconv_args *p, const float *image, size_t y, size_t x, size_t count, char *to,
                              size_t lda, const bgemm_micro *micro)
{
    const int dense = p->ldx == p->c && p->dw == 1; /* the pixels of a line of the window are neighbours */
    const size_t line = p->dh * p->iw * p->ldx;
    bgemm_source s = { image + (y * p->iw + x) * p->ldx, count, p->sw * p->ldx, p->kh, line, p->kw * p->c };
    if (dense) {
        micro->round(&s, to, lda);
        return;
    }
    s.lines = p->kw;
    s.line_step = p->dw * p->ldx;
    s.count = p->c;
    for (size_t ky = 0; ky < p->kh; ky++, s.from += line, to += p->kw * p->c * micro->bytes)
        micro->round(&s, to, lda);
}

/* One window at (y, x) with the zeros beyond the image. */
static void bconv_rows_pad(const pcx_bconv_args *p, const float *image, size_t y, size_t x, char *to,
                           const bgemm_micro *micro)
{
    const size_t bytes = p->c * micro->bytes;
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++, to += bytes) {
            const size_t iy = y + ky * p->dh, ix = x + kx * p->dw;
            if (iy < p->ih && ix < p->iw)
                micro->round(&(bgemm_source){ image + (iy * p->iw + ix) * p->ldx, 1, 0, 1, 0, p->c }, to, 0);
            else
                memset(to, 0, bytes);
        }
}

/* How many of the windows from (y, x) on, at most `max` in this line, lie inside the image. */
static size_t bconv_rows_run_of(const pcx_bconv_args *p, size_t y, size_t x, size_t max)
{
    const size_t reach_y = (p->kh - 1) * p->dh, reach_x = (p->kw - 1) * p->dw;
    if (y >= p->ih || y + reach_y >= p->ih || x >= p->iw || x + reach_x >= p->iw)
        return 0;
    return min_size(max, (p->iw - 1 - reach_x - x) / p->sw + 1);
}

/* The windows of `count` output pixels from `first` on, rounded. */
static void bconv_rows_gather(const void *args, size_t first, size_t count, char *to, size_t lda,
                              const bgemm_micro *micro)
{
    const pcx_bconv_args *p = args;
    if (!p->c) /* a window may be endless */
        return;
    for (size_t i = first, some; i < first + count; i += some, to += some * lda) {
        const size_t line = i / p->ow, column = i % p->ow;
        const size_t y = line % p->oh * p->sh - p->pt, x = column * p->sw - p->pl;
        const float *image = p->x + line / p->oh * p->ih * p->iw * p->ldx;
        some = bconv_rows_run_of(p, y, x, min_size(p->ow - column, first + count - i));
        if (some) {
            bconv_rows_inside(p, image, y, x, some, to, lda, micro);
        } else {
            bconv_rows_pad(p, image, y, x, to, micro);
            some = 1;
        }
    }
}

void bconv_rows_run(const void *args, size_t begin, size_t end, void *scratch, const bgemm_micro *micro)
{
    const pcx_bconv_args *p = args;
    const bgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    bgemm_rows_blocks(p, bconv_rows_gather, &to, p->out, p->ldo, p->b * p->oh * p->ow, bconv_rows_k(p), begin, end,
                      scratch, micro);
}
