/* dwconv_line.h - an output line, for the ISAs that have vectors; inlined in each. */
#ifndef PCX_DWCONV_LINE_H
#define PCX_DWCONV_LINE_H

#include "dwconv.h"

#include "../common/act.h"

/*
 * An output line: the lines of weights that meet the image, and the first line of the image that they meet.
 * Kept by value in the loops: what a store might change would be read again after each.
 */
typedef struct {
    size_t ky, ky_end;
    const float *in; /* line of the image under weight line ky, at the block's first channel */
    size_t c;        /* that channel */
    const float *w;  /* weight line ky */
    size_t ldx, ldw, step, ldo; /* between pixels, weights of a line, lines of the image, outputs */
    const float *bias; /* NULL: none */
    float *out;
    float min, max;
    size_t pixel;      /* the line's first */
    int slow;          /* what follows the sum is more than bias and bounds, */
    int hardswish;     /* and it is only this */
    const pcx_dwconv_args *p;
} dwconv_line;

/* Where a block's channels of an image are read: there, or in a copy. */
typedef struct {
    const float *x; /* line `top`, first channel of the block */
    size_t top, ldx, c;
} dwconv_view;

PCX_INLINE dwconv_line dwconv_line_of(const pcx_dwconv_args *p, const dwconv_view *v, size_t image, size_t y)
{
    dwconv_line l = { .in = v->x, .c = v->c, .ldx = v->ldx, .step = p->dh * p->iw * v->ldx };
    const size_t top = y * p->sh - p->pt; /* wraps to a huge number above the image */
    while (l.ky < p->kh && top + l.ky * p->dh >= p->ih)
        l.ky++;
    for (l.ky_end = l.ky; l.ky_end < p->kh && top + l.ky_end * p->dh < p->ih;)
        l.ky_end++;
    if (l.ky < l.ky_end)
        l.in = v->x + (top + l.ky * p->dh - v->top) * p->iw * v->ldx;
    l.p = p;
    l.w = p->w + l.ky * p->kw * p->c;
    l.ldw = p->c;
    l.bias = p->tail.bias;
    l.ldo = p->ldo;
    l.pixel = (image * p->oh + y) * p->ow;
    l.out = p->out + l.pixel * p->ldo;
    l.slow = p->tail.residual || p->tail.act > PCX_ACT_CLIP;
    l.hardswish = !p->tail.residual && p->tail.act == PCX_ACT_HARDSWISH;
    act_bounds(p->tail.act, p->tail.act_params, &l.min, &l.max);
    return l;
}

/* Whether windows have a geometry for which there are tiles. */
PCX_INLINE int dwconv_line_has_tiles(const pcx_dwconv_args *p)
{
    return (p->kw == 3 || p->kw == 5) && (p->sw == 1 || p->sw == 2) && p->dw == 1;
}

#endif
