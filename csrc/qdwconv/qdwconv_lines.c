/* qdwconv_lines.c - the driver: lines of images through a micro-kernel. */
#include "qdwconv.h"

/* What a thread needs, cut from its scratch. */
typedef struct {
    const uint8_t **row;
    uint8_t *padding; /* a line of xzp, for rows outside the image */
    uint8_t *rest;    /* where c < 32: the end of x with space behind, since reads reach beyond it */
    void *acc16;     /* used if nothing is prepared, or weights have zero points, which need not be constant */
    void *micro;      /* the micro-kernel's own */
} qdwconv_workspace;

/* Bytes from the first to the last of a line of x; 0 without any. */
static size_t qdwconv_lines_line_bytes(const pcx_qdwconv_args *p)
{
    return p->b && p->ih && p->iw ? (p->iw - 1) * p->ldx + p->c : 0;
}

/* The bytes of a workspace; with `scratch`, also the workspace. */
static size_t qdwconv_lines_workspace(const pcx_qdwconv_args *p, const qdwconv_micro *micro, char *scratch,
                                      qdwconv_workspace *r)
{
    const size_t padding = round_up(p->kh * sizeof *r->row, 64),
                 line = round_up(qdwconv_lines_line_bytes(p) + 2 * QDW_NC, 64);
    const size_t rest = padding + line, acc16 = rest + (p->c < QDW_NC ? line : 0);
    const size_t lines = acc16 + (p->prepared && !p->wzp ? 0 : round_up(qdwconv_acc16_bytes(p->kh, p->kw, p->c), 64));
    if (scratch)
        *r = (qdwconv_workspace){ (const uint8_t **)scratch, (uint8_t *)scratch + padding, (uint8_t *)scratch + rest,
                     scratch + acc16, scratch + lines };
    return lines + micro->scratch(p->kh, p->kw, p->c);
}

size_t qdwconv_lines_scratch(const void *args, const qdwconv_micro *micro)
{
    return qdwconv_lines_workspace(args, micro, NULL, NULL);
}

size_t qdwconv_lines_units(const void *args, const qdwconv_micro *micro)
{
    const qdwconv_grid g = qdwconv_split(args);
    (void)micro;
    return g.strips * g.slices;
}

/* Bytes of x. */
static size_t qdwconv_lines_image_bytes(const pcx_qdwconv_args *p)
{
    return qdwconv_lines_line_bytes(p) ? (p->b * p->ih - 1) * p->iw * p->ldx + qdwconv_lines_line_bytes(p) : 0;
}

/* What does not depend on the units. */
static void qdwconv_lines_fill(const pcx_qdwconv_args *p, qdwconv_workspace *r)
{
    const size_t all = qdwconv_lines_image_bytes(p), rest = min_size(all, qdwconv_lines_line_bytes(p) + QDW_NC);
    memset(r->padding, (uint8_t)p->xzp[0], qdwconv_lines_line_bytes(p) + QDW_NC);
    if (p->c < QDW_NC && rest)
        memcpy(r->rest, p->x + all - rest, rest);
    if (!p->prepared || p->wzp)
        qdwconv_acc16_make(p->kh, p->kw, p->c, p->w, p->wzp, r->acc16);
}

/* Column x of line y of an image, in r->rest where reads pass the end of all. */
static const uint8_t *qdwconv_lines_row_at(const pcx_qdwconv_args *p, const qdwconv_workspace *r, size_t image,
                                           size_t y, size_t x)
{
    const size_t first = (image * p->ih + y) * p->iw * p->ldx, all = qdwconv_lines_image_bytes(p);
    const size_t rest = min_size(all, qdwconv_lines_line_bytes(p) + QDW_NC);
    if (p->c < QDW_NC && first + qdwconv_lines_line_bytes(p) + QDW_NC - p->c > all)
        return r->rest + (first + x * p->ldx - (all - rest));
    return p->x + first + x * p->ldx;
}

/* A strip as a line of qdwconv_line.h. */
static void qdwconv_lines_make(const pcx_qdwconv_args *p, const qdwconv_workspace *r, const qdwconv_strip *s,
                               qdwconv_line *to)
{
    const size_t image = s->y / p->oh, top = s->y % p->oh * p->sh - p->pt; /* wraps above the image */
    const size_t left = s->first * p->sw, wide = (s->count - 1) * p->sw + (p->kw - 1) * p->dw + 1;
    size_t low = p->pl > left ? p->pl - left : 0, high = p->iw + p->pl > left ? p->iw + p->pl - left : 0;
    high = min_size(high, wide);
    if (low >= high || !qdwconv_lines_line_bytes(p))
        low = high = 0;
    for (size_t ky = 0; ky < p->kh; ky++) {
        const size_t y = top + ky * p->dh;
        r->row[ky] = y < p->ih && high ? qdwconv_lines_row_at(p, r, image, y, left + low - p->pl) : r->padding;
    }
    *to = (qdwconv_line){ .row = r->row, .step = p->ldx, .low = low, .high = high, .pad = r->padding,
                      .first = s->y * p->ow + s->first, .count = s->count, .ldo = p->ldo * pcx_dtype_bytes(p->ot) };
    to->out = (uint8_t *)p->out + to->first * to->ldo;
}

/* Zero points of weights within [-128, 127], so that w - wzp fits int16; only hostile plans have others. */
static int qdwconv_lines_usual(const pcx_qdwconv_args *p)
{
    int ok = 1;
    for (size_t j = 0; p->wzp && j < p->c; j++)
        ok &= p->wzp[j] >= -128 && p->wzp[j] <= 127;
    return ok;
}

void qdwconv_lines_run(const void *args, size_t begin, size_t end, void *scratch, const qdwconv_micro *micro)
{
    const pcx_qdwconv_args *p = args;
    const qdwconv_grid g = qdwconv_split(p);
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    qdwconv_workspace r = { 0 };
    if (begin >= end)
        return;
    if (!qdwconv_lines_usual(p)) {
        qdwconv_scalar(args, begin, end, scratch);
        return;
    }
    qdwconv_lines_workspace(p, micro, scratch, &r);
    qdwconv_lines_fill(p, &r);
    const qdwconv_layer layer = { .kh = p->kh, .kw = p->kw, .sw = p->sw, .dw = p->dw, .c = p->c, .xzp = p->xzp[0],
                              .colsum = p->colsum, .wzp = p->wzp, .tail = &tail, .scratch = r.micro,
                              .acc16 = p->prepared && !p->wzp ? p->prepared : r.acc16 };
    micro->make(&layer);
    for (size_t u = begin; u < end;) {
        const size_t first = u / g.slices, slice = u % g.slices;
        const size_t slices = min_size(end - u, g.slices - slice);
        const size_t strips = slices < g.slices ? 1 : min_size((end - u) / g.slices, g.block);
        const size_t left = slice * g.channels / QDW_NC;
        const size_t right = ceil_div(qdwconv_slice_end(p, &g, slice + slices - 1), QDW_NC);
        for (size_t i = left; i < right; i++) /* weights stay at hand, and so does a block */
            for (size_t x = first; x < first + strips; x++) {
                const qdwconv_strip strip = qdwconv_strip_at(p, &g, x);
                qdwconv_line line;
                if (!strip.count)
                    continue;
                qdwconv_lines_make(p, &r, &strip, &line);
                micro->run(&layer, &line, i, i + 1);
            }
        u += strips * slices;
    }
}

size_t qdwconv_lines_prepared(const void *args)
{
    const pcx_qdwconv_args *p = args;
    return qdwconv_acc16_bytes(p->kh, p->kw, p->c);
}

void qdwconv_lines_prepare(const void *args, void *prepared)
{
    const pcx_qdwconv_args *p = args;
    /* of the weights alone: only they are certain to be constant */
    qdwconv_acc16_make(p->kh, p->kw, p->c, p->w, NULL, prepared);
}
