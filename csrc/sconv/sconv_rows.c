/*
 * sconv_rows.c - the driver: runs a micro-kernel of sgemm directly on the image.  A window inside the image is kh lines
 * of kw * c neighbours.  Only windows that extend beyond it are copied, with zeros.
 */
#include "sconv.h"

/* Rows of a block: copies of all windows take a MiB at most, unless the windows are huge. */
static sgemm_split sconv_rows_split(const pcx_sconv_args *p, const sgemm_micro *micro)
{
    enum { FLOATS = 1 << 18 };
    const size_t k = p->kh * p->kw * p->c;
    const size_t max = FLOATS / max_size(k, 1) / micro->mr * micro->mr;
    return sgemm_split_of(p->b * p->oh * p->ow, p->n, k, min_size(max_size(max, 4 * micro->mr), SGEMM_MB), micro->mr);
}

size_t sconv_rows_units(const void *args, const sgemm_micro *micro)
{
    const sgemm_split s = sconv_rows_split(args, micro);
    return s.blocks * s.groups;
}

size_t sconv_rows_scratch(const void *args, const sgemm_micro *micro)
{
    const pcx_sconv_args *p = args;
    const sgemm_split s = sconv_rows_split(p, micro);
    return s.rows * p->kh * p->kw * p->c * sizeof(float);
}

/* The window at `at` with the zeros beyond the image. */
static void sconv_rows_pad(const pcx_sconv_args *p, sconv_place at, float *to)
{
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++, to += p->c) {
            const size_t iy = at.y + ky * p->dh, ix = at.x + kx * p->dw;
            if (iy < p->ih && ix < p->iw)
                memcpy(to, p->x + ((at.image * p->ih + iy) * p->iw + ix) * p->ldx, p->c * sizeof(float));
            else
                memset(to, 0, p->c * sizeof(float));
        }
}

static void sconv_rows_add(const pcx_sconv_args *p, sgemm_rows *rows, const float *window, size_t pixel)
{
    rows->a[rows->count] = window;
    rows->out[rows->count] = p->out + pixel * p->ldo;
    rows->residual[rows->count++] = p->tail.residual ? p->tail.residual + pixel * p->tail.ldr : NULL;
}

/* Windows inside the image, read where they are, and the others, copied to `scratch`. */
static void sconv_rows_gather(const pcx_sconv_args *p, size_t first, size_t count, sgemm_rows *inside, sgemm_rows *edge,
                   float *scratch)
{
    const size_t reach_y = (p->kh - 1) * p->dh, reach_x = (p->kw - 1) * p->dw;
    sconv_place at = sconv_at(p, first);
    inside->count = edge->count = 0;
    for (size_t i = first, x = first % p->ow; i < first + count; i++) {
        if (at.y < p->ih && at.y + reach_y < p->ih && at.x < p->iw && at.x + reach_x < p->iw) {
            sconv_rows_add(p, inside, p->x + ((at.image * p->ih + at.y) * p->iw + at.x) * p->ldx, i);
        } else {
            float *to = scratch + edge->count * edge->lines * edge->line_step;
            if (edge->length)
                sconv_rows_pad(p, at, to);
            sconv_rows_add(p, edge, to, i);
        }
        at.x += p->sw;
        if (++x == p->ow) {
            x = 0;
            at = sconv_at(p, i + 1);
        }
    }
}

void sconv_rows_run(const void *args, size_t begin, size_t end, void *scratch, const sgemm_micro *micro)
{
    const pcx_sconv_args *p = args;
    const sgemm_split s = sconv_rows_split(p, micro);
    const sgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    const int dense = p->ldx == p->c && p->dw == 1; /* the pixels of a line of the window are neighbours */
    sgemm_rows inside, edge;
    inside.lines = p->c ? p->kh : 0; /* without channels a window may be endless */
    inside.line_step = p->dh * p->iw * p->ldx;
    inside.runs = dense ? 1 : p->kw;
    inside.run_step = p->dw * p->ldx;
    inside.length = dense ? p->kw * p->c : p->c;
    edge.lines = inside.lines; /* the same runs, so that the order of sums does not depend on where a window lies */
    edge.line_step = p->kw * p->c;
    edge.runs = inside.runs;
    edge.run_step = p->c;
    edge.length = inside.length;
    edge.fresh = 0;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit / s.groups * s.rows, panel = unit % s.groups * s.panels;
        const size_t stop = min_size(panel + s.panels, ceil_div(p->n, SGEMM_NR));
        inside.fresh = unit / s.groups == begin / s.groups;
        if (unit == begin || !panel)
            sconv_rows_gather(p, first, min_size(s.rows, p->b * p->oh * p->ow - first), &inside, &edge, scratch);
        micro->run(&inside, &to, panel, stop);
        micro->run(&edge, &to, panel, stop);
    }
}
