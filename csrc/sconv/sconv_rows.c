/*
 * sconv_rows.c - the driver: runs a micro-kernel of sgemm directly on the image.  A window inside the image is kh lines
 * of kw * c neighbours.  Only windows that extend beyond it are copied, with zeros.
 */
#include "sconv.h"

/* Whether every window lies inside the image. */
static int sconv_rows_inside(const pcx_sconv_args *p)
{
    return !p->pt && !p->pl && p->oh && p->ow && (p->oh - 1) * p->sh + (p->kh - 1) * p->dh < p->ih &&
           (p->ow - 1) * p->sw + (p->kw - 1) * p->dw < p->iw;
}

/* The pixels of a line of the window are neighbours. */
static int sconv_rows_dense(const pcx_sconv_args *p) { return p->ldx == p->c && p->dw == 1; }

/* Rows of a block: copies of all windows, if there are any, take a MiB at most, unless the windows are huge. */
static sgemm_split sconv_rows_split(const pcx_sconv_args *p, const sgemm_micro *micro)
{
    enum { FLOATS = 1 << 18 };
    const size_t k = p->kh * p->kw * p->c;
    const size_t max = sconv_rows_inside(p) ? SGEMM_MB : FLOATS / max_size(k, 1) / micro->mr * micro->mr;
    return sgemm_split_of(p->b * p->oh * p->ow, p->n, k, min_size(max_size(max, 4 * micro->mr), SGEMM_MB), micro->mr);
}

size_t sconv_rows_units(const void *args, const sgemm_micro *micro)
{
    const sgemm_split s = sconv_rows_split(args, micro);
    return s.blocks * s.groups;
}

/* Windows that are one run of many products each. */
static int sconv_rows_is_deep(const pcx_sconv_args *p, const sgemm_split *s, const sgemm_micro *micro)
{
    return p->kh == 1 && sconv_rows_dense(p) && sgemm_is_deep(s, p->kw * p->c, micro->mr);
}

/* Floats of all copies. */
static size_t sconv_rows_copies(const pcx_sconv_args *p, const sgemm_split *s)
{
    return sconv_rows_inside(p) ? 0 : s->rows * p->kh * p->kw * p->c;
}

size_t sconv_rows_scratch(const void *args, const sgemm_micro *micro)
{
    const pcx_sconv_args *p = args;
    const sgemm_split s = sconv_rows_split(p, micro);
    return (sconv_rows_copies(p, &s) + (sconv_rows_is_deep(p, &s, micro) ? SGEMM_SUMS : 0)) * sizeof(float);
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

/* `count` neighbouring pixels of the output, the first `pixel`, whose windows lie `step` apart from `window` on. */
static void sconv_rows_add(const pcx_sconv_args *p, sgemm_rows *rows, const float *window, size_t step, size_t pixel,
                           size_t count)
{
    const size_t at = rows->count;
    for (size_t i = 0; i < count; i++)
        rows->a[at + i] = window + i * step;
    for (size_t i = 0; i < count; i++)
        rows->out[at + i] = p->out + (pixel + i) * p->ldo;
    for (size_t i = 0; p->tail.residual && i < count; i++)
        rows->residual[at + i] = p->tail.residual + (pixel + i) * p->tail.ldr;
    rows->count += count;
}

/* Of the pixels [x, x_end) of the output's line `line`: windows inside the image, and the others, copied to `scratch`. */
static void sconv_rows_gather_line(const pcx_sconv_args *p, size_t line, size_t x, size_t x_end, sgemm_rows *inside,
                                   sgemm_rows *edge, float *scratch)
{
    const size_t reach_y = (p->kh - 1) * p->dh, reach_x = (p->kw - 1) * p->dw, pixel = line * p->ow;
    sconv_place at = sconv_at(p, pixel);
    size_t from = x_end, to = x_end; /* the pixels inside */
    if (at.y < p->ih && at.y + reach_y < p->ih && p->iw > reach_x) {
        from = min_size(x_end, max_size(x, ceil_div(p->pl, p->sw)));
        to = min_size(x_end, max_size(from, (p->iw - reach_x - 1 + p->pl) / p->sw + 1));
    }
    if (from < to) {
        const size_t left = from * p->sw - p->pl;
        sconv_rows_add(p, inside, p->x + ((at.image * p->ih + at.y) * p->iw + left) * p->ldx, p->sw * p->ldx,
                       pixel + from, to - from);
    }
    for (size_t i = x; i < x_end; i++) {
        if (i == from)
            i = to;
        if (i == x_end)
            break;
        float *const copy = scratch + edge->count * edge->lines * edge->line_step;
        at.x = i * p->sw - p->pl;
        if (edge->length)
            sconv_rows_pad(p, at, copy);
        sconv_rows_add(p, edge, copy, 0, pixel + i, 1);
    }
}

static void sconv_rows_gather(const pcx_sconv_args *p, size_t first, size_t count, sgemm_rows *inside, sgemm_rows *edge,
                              float *scratch)
{
    inside->count = edge->count = 0;
    for (size_t i = first, end = first + count, x_end; i < end; i += x_end - i % p->ow) {
        x_end = min_size(p->ow, i % p->ow + end - i);
        sconv_rows_gather_line(p, i / p->ow, i % p->ow, x_end, inside, edge, scratch);
    }
}

void sconv_rows_run(const void *args, size_t begin, size_t end, void *scratch, const sgemm_micro *micro)
{
    const pcx_sconv_args *p = args;
    const sgemm_split s = sconv_rows_split(p, micro);
    const sgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    const int dense = sconv_rows_dense(p), deep = sconv_rows_is_deep(p, &s, micro);
    float *const sums = (float *)scratch + sconv_rows_copies(p, &s);
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
        for (int i = 0; i < 2; i++) {
            if (deep)
                sgemm_rows_deep(i ? &edge : &inside, &to, panel, stop, micro, sums);
            else
                micro->run(i ? &edge : &inside, &to, panel, stop);
        }
    }
}
