/*
 * spmm_panels.c - the driver: panels of pixels, transposed into scratch, through a micro-kernel; sums of 64 rows of w
 * wait in scratch, too, and are transposed back when the epilogue takes them.  Channel-first (CHW) images are read
 * where they lie, and sums go there from registers.
 */
#include "spmm.h"

#include "../common/act.h"

/* Panels of pixels times groups of rows of w; by the sizes alone, not by the threads. */
typedef struct {
    size_t vectors, panels; /* of all pixels */
    size_t rows, groups;    /* rows of a group; the last one may have less */
} spmm_split;

static size_t spmm_panels_vectors(const pcx_spmm_args *p, const spmm_micro *micro)
{
    return p->k < micro->few ? micro->vectors_of_few : micro->vectors;
}

static spmm_split spmm_panels_split(const pcx_spmm_args *p, const spmm_micro *micro)
{
    enum { UNITS = 32, MIN = 1 << 16, ROWS = 16 }; /* wanted units; min. products of one; multiples of rows */
    spmm_split s = { 0 };
    if (!p->m || !p->n)
        return s;
    s.vectors = ceil_div(p->m, micro->lanes);
    s.panels = ceil_div(s.vectors, spmm_panels_vectors(p, micro));
    const size_t pixels = ceil_div(s.vectors, s.panels) * micro->lanes;
    const size_t worth = max_size(1, p->nnz / MIN * pixels + p->nnz % MIN * pixels / MIN);
    const size_t groups = min_size(ceil_div(UNITS, s.panels), worth);
    s.rows = round_up(ceil_div(p->n, groups), ROWS);
    s.groups = ceil_div(p->n, s.rows);
    return s;
}

/* Where panel `panel` begins, in vectors: panels differ by one vector at most. */
static size_t spmm_panels_first(const spmm_split *s, size_t panel)
{
    const size_t less = s->vectors / s->panels, more = s->vectors % s->panels;
    return panel * less + min_size(panel, more);
}

/* A panel's place within the pixels. */
typedef struct {
    size_t vectors, width;
    size_t pixel, pixels; /* `pixels` of its `width` positions hold the pixels from `pixel` on */
} spmm_place;

/* Whether outputs are channel-first, and registers can go there. */
static int spmm_panels_direct(const pcx_spmm_args *p, size_t vectors)
{
    return p->ldo == 1 && p->ldc != 1 && (!p->tail.residual || p->tail.ldr == 1) && p->tail.act <= PCX_ACT_CLIP &&
           vectors > 1 && p->slices;
}

/* The rows [first, last) of w, at most SPMM_BLOCK, times the panel. */
static void spmm_panels_block(const pcx_spmm_args *p, const spmm_micro *micro, size_t first, size_t last,
                              const spmm_panel *panel, const spmm_place *at, float *sums)
{
    enum { FAR = 1 << 18 }; /* floats that do not stay in an L2 cache */
    const size_t after = min_size(at->width, p->m - at->pixel - at->pixels); /* pixels of the next panel */
    const size_t share = after * p->lda * sizeof *p->a / p->n;               /* bytes for each row of w */
    const float *residual = p->tail.residual ? p->tail.residual + at->pixel : NULL;
    spmm_chw chw = { p->out + at->pixel, residual, at->pixels - micro->lanes, 0, 0 };
    spmm_ahead ahead = { 0 };
    const int direct = spmm_panels_direct(p, at->vectors);
    act_bounds(p->tail.act, p->tail.act_params, &chw.low, &chw.high);
    if (!direct && p->m * (p->n + p->k) > FAR && p->ldk == 1 && p->ldc == 1) {
        const char *next = (const char *)(p->a + (at->pixel + at->pixels) * p->lda);
        ahead = (spmm_ahead){ p->out + at->pixel * p->ldo + first, p->ldo, at->pixels, last - first,
                              next + first * share, (last - first) * share };
    }
    if (!p->slices)
        for (size_t i = 0; i < (last - first) * at->width; i++)
            sums[i] = p->tail.bias ? p->tail.bias[first + i / at->width] : 0;
    for (size_t slice = 0; slice < p->slices; slice++)
        micro->multiply[at->vectors](p, slice, first, last, panel, sums, &ahead,
                                     direct && slice + 1 == p->slices ? &chw : NULL);
    if (!direct)
        micro->finish(p, sums, micro->lanes, at->width, first, last, at->pixel, at->pixels);
}

/* The panel: in place if it is whole and channel-first; else in `scratch`. */
static spmm_panel spmm_panels_make(const pcx_spmm_args *p, const spmm_micro *micro, const spmm_place *at,
                                   float *scratch)
{
    const float *a = p->a + at->pixel * p->lda;
    if (p->lda == 1 && p->ldk != 1 && at->pixels == at->width && at->vectors > 1)
        return (spmm_panel){ (const char *)a, p->ldk * sizeof *a };
    micro->gather(p, a, at->pixels, micro->lanes, at->width, scratch);
    return (spmm_panel){ (const char *)scratch, at->width * sizeof *a };
}

size_t spmm_panels_units(const void *args, const spmm_micro *micro)
{
    const spmm_split s = spmm_panels_split(args, micro);
    return s.panels * s.groups;
}

size_t spmm_panels_scratch(const void *args, const spmm_micro *micro)
{
    const pcx_spmm_args *p = args;
    const size_t vectors = min_size(spmm_panels_vectors(p, micro), ceil_div(p->m, micro->lanes));
    return vectors * micro->lanes * sizeof(float) * (SPMM_BLOCK + p->k);
}

void spmm_panels_run(const void *args, size_t begin, size_t end, void *scratch, const spmm_micro *micro)
{
    const pcx_spmm_args *p = args;
    const spmm_split s = spmm_panels_split(p, micro);
    for (size_t unit = begin, stop; unit < end; unit = stop) { /* up to `stop`, units share a panel */
        const size_t which = unit / s.groups, from = spmm_panels_first(&s, which);
        spmm_place at = { .vectors = spmm_panels_first(&s, which + 1) - from, .pixel = from * micro->lanes };
        at.width = at.vectors * micro->lanes;
        at.pixels = min_size(at.width, p->m - at.pixel);
        float *sums = scratch;
        const spmm_panel panel = spmm_panels_make(p, micro, &at, sums + SPMM_BLOCK * at.width);
        stop = min_size(end, (which + 1) * s.groups);
        const size_t first = unit % s.groups * s.rows, last = min_size(first + (stop - unit) * s.rows, p->n);
        for (size_t row = first; row < last; row += SPMM_BLOCK)
            spmm_panels_block(p, micro, row, min_size(row + SPMM_BLOCK, last), &panel, &at, sums);
    }
}
