/* qdwconv_lines.c - the driver: lines of images through a micro-kernel. */
#include "qdwconv.h"

enum { QDWCONV_PAST = 64 }; /* bytes of padding behind a line, since reads may reach beyond it */

/* What a thread needs, cut from its scratch. */
typedef struct {
    const uint8_t **row; /* [QDWCONV_STRIPS][kh + 1] */
    uint8_t *padding; /* a line of xzp, for rows outside the image */
    uint8_t *rest;    /* where c < 32: the end of x with space behind, since reads reach beyond it */
    void *weights;    /* used if nothing is prepared, or weights have zero points, which need not be constant */
    void *micro;      /* the micro-kernel's own */
} qdwconv_workspace;

/* The micro-kernel that takes these arguments. */
static const qdwconv_micro *qdwconv_lines_choose(const pcx_qdwconv_args *p, const qdwconv_micro *micro)
{
    return micro->takes && !micro->takes(p) ? micro->other : micro;
}

/* What is prepared for `micro`, which was chosen in place of `own`. */
static const void *qdwconv_lines_weights(const pcx_qdwconv_args *p, const qdwconv_micro *own,
                                         const qdwconv_micro *micro)
{
    return micro == own && !p->wzp ? p->prepared : NULL;
}

static qdwconv_grid qdwconv_lines_split(const pcx_qdwconv_args *p, const qdwconv_micro *micro)
{
    const size_t lines = qdwconv_shares_rows(p) ? micro->lines : 1;
    return qdwconv_split(p, lines, micro->width, micro->channels);
}

/* Bytes from the first to the last of a line of x; 0 without any. */
static size_t qdwconv_lines_line_bytes(const pcx_qdwconv_args *p)
{
    return p->b && p->ih && p->iw ? (p->iw - 1) * p->ldx + p->c : 0;
}

/* The bytes of a workspace without the micro-kernel's own; with `scratch`, also the workspace. */
static size_t qdwconv_lines_workspace(const pcx_qdwconv_args *p, const qdwconv_micro *micro, int prepared,
                                      char *scratch, qdwconv_workspace *r)
{
    const size_t padding = round_up(QDWCONV_STRIPS * (p->kh + 1) * sizeof *r->row, 64);
    const size_t line = round_up(qdwconv_lines_line_bytes(p) + QDWCONV_PAST, 64);
    const size_t rest = padding + line, weights = rest + (p->c < QDWCONV_CHANNELS ? line : 0);
    const size_t own = weights + (prepared ? 0 : round_up(micro->prepared(p->kh, p->kw, p->c), 64));
    if (scratch)
        *r = (qdwconv_workspace){ (const uint8_t **)scratch, (uint8_t *)scratch + padding, (uint8_t *)scratch + rest,
                                  scratch + weights, scratch + own };
    return own;
}

size_t qdwconv_lines_scratch(const void *args, const qdwconv_micro *own)
{
    const pcx_qdwconv_args *p = args;
    const qdwconv_micro *micro = qdwconv_lines_choose(p, own);
    const int prepared = qdwconv_lines_weights(p, own, micro) != NULL;
    return qdwconv_lines_workspace(p, micro, prepared, NULL, NULL) + micro->scratch(p->kh, p->kw, p->c);
}

size_t qdwconv_lines_units(const void *args, const qdwconv_micro *own)
{
    const qdwconv_grid g = qdwconv_lines_split(args, qdwconv_lines_choose(args, own));
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
    const size_t all = qdwconv_lines_image_bytes(p), line = qdwconv_lines_line_bytes(p);
    const size_t rest = min_size(all, line + QDWCONV_CHANNELS);
    memset(r->padding, (uint8_t)p->xzp[0], line + QDWCONV_PAST);
    if (p->c < QDWCONV_CHANNELS && rest)
        memcpy(r->rest, p->x + all - rest, rest);
}

/* Column x of line y of an image, in r->rest where reads pass the end of all. */
static const uint8_t *qdwconv_lines_row_at(const pcx_qdwconv_args *p, const qdwconv_workspace *r, size_t image,
                                           size_t y, size_t x)
{
    const size_t first = (image * p->ih + y) * p->iw * p->ldx, all = qdwconv_lines_image_bytes(p);
    const size_t rest = min_size(all, qdwconv_lines_line_bytes(p) + QDWCONV_CHANNELS);
    if (p->c < QDWCONV_CHANNELS && first + qdwconv_lines_line_bytes(p) + QDWCONV_CHANNELS - p->c > all)
        return r->rest + (first + x * p->ldx - (all - rest));
    return p->x + first + x * p->ldx;
}

/* A strip as a line of qdwconv_line.h, whose rows are put at `row`. */
static void qdwconv_lines_make(const pcx_qdwconv_args *p, const qdwconv_workspace *r, const qdwconv_strip *s,
                               const uint8_t **row, qdwconv_line *to)
{
    const size_t image = s->y / p->oh, top = s->y % p->oh * p->sh - p->pt; /* wraps above the image */
    const size_t left = s->first * p->sw, wide = (s->count - 1) * p->sw + (p->kw - 1) * p->dw + 1;
    size_t low = p->pl > left ? p->pl - left : 0, high = p->iw + p->pl > left ? p->iw + p->pl - left : 0;
    high = min_size(high, wide);
    if (low >= high || !qdwconv_lines_line_bytes(p))
        low = high = 0;
    for (size_t ky = 0; ky < p->kh + s->lines - 1; ky++) {
        const size_t y = top + ky * p->dh;
        row[ky] = y < p->ih && high ? qdwconv_lines_row_at(p, r, image, y, left + low - p->pl) : r->padding;
    }
    *to = (qdwconv_line){ .row = row, .step = p->ldx, .low = low, .high = high, .pad = r->padding,
                      .first = s->y * p->ow + s->first, .count = s->count, .lines = s->lines, .width = p->ow,
                      .ldo = p->ldo * pcx_dtype_bytes(p->ot) };
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

void qdwconv_lines_run(const void *args, size_t begin, size_t end, void *scratch, const qdwconv_micro *own)
{
    const pcx_qdwconv_args *p = args;
    const qdwconv_micro *micro = qdwconv_lines_choose(p, own);
    const qdwconv_grid g = qdwconv_lines_split(p, micro);
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    const void *prepared = qdwconv_lines_weights(p, own, micro);
    qdwconv_workspace r = { 0 };
    if (begin >= end)
        return;
    if (!qdwconv_lines_usual(p)) { /* AVX2's units are the scalar kernel's */
        qdwconv_scalar(args, begin, end, scratch);
        return;
    }
    qdwconv_lines_workspace(p, micro, prepared != NULL, scratch, &r);
    qdwconv_lines_fill(p, &r);
    if (!prepared)
        micro->prepare(p->kh, p->kw, p->c, p->w, p->wzp, r.weights);
    const qdwconv_layer layer = { .kh = p->kh, .kw = p->kw, .sw = p->sw, .dw = p->dw, .c = p->c, .xzp = p->xzp[0],
                                  .colsum = p->colsum, .wzp = p->wzp, .tail = &tail, .scratch = r.micro,
                                  .weights = prepared ? prepared : r.weights };
    const size_t groups = micro->groups(p->c);
    qdwconv_line line[QDWCONV_STRIPS];
    micro->make(&layer);
    for (size_t u = begin; u < end;) {
        const size_t first = u / g.slices, slice = u % g.slices;
        const size_t slices = min_size(end - u, g.slices - slice);
        const size_t strips = slices < g.slices ? 1 : min_size((end - u) / g.slices, g.block);
        const size_t left = slice * g.channels / micro->channels;
        const size_t right = slice + slices < g.slices ? (slice + slices) * g.channels / micro->channels : groups;
        size_t lines = 0;
        for (size_t x = first; x < first + strips; x++) {
            const qdwconv_strip strip = qdwconv_strip_at(p, &g, x);
            if (!strip.count)
                continue;
            qdwconv_lines_make(p, &r, &strip, r.row + lines * (p->kh + 1), line + lines);
            lines++;
        }
        for (size_t i = left; i < right; i++) /* weights stay at hand, and so does a block */
            for (size_t x = 0; x < lines; x++)
                micro->run(&layer, line + x, i, i + 1);
        u += strips * slices;
    }
}

/* Of the weights alone: all that is sure to be constant. */
size_t qdwconv_lines_prepared(const void *args, const qdwconv_micro *micro)
{
    const pcx_qdwconv_args *p = args;
    return micro->prepared(p->kh, p->kw, p->c);
}

void qdwconv_lines_prepare(const void *args, void *prepared, const qdwconv_micro *micro)
{
    const pcx_qdwconv_args *p = args;
    /* of the weights alone: only they are certain to be constant */
    micro->prepare(p->kh, p->kw, p->c, p->w, NULL, prepared);
}
