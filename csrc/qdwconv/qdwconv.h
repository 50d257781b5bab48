/* qdwconv.h - what the qdwconv files share. */
#ifndef PCX_QDWCONV_H
#define PCX_QDWCONV_H

#include "qdwconv_line.h"

/*
 * The units: strips of output pixels times slices of channels, in the order of strips, so that a thread reads the lines
 * that it wrote before.  A strip is a segment of a line, so that windows can slide along it, or of two lines that share
 * what they read.  If there are few lines, slices give every thread some work.
 */
typedef struct {
    size_t segments, width;  /* of a line; pixels of one */
    size_t lines, pairs;     /* of a strip at most, 1 or 2; so many of them in an image */
    size_t strips;           /* of the output */
    size_t slices, channels; /* channels of one; of the last one, more */
    size_t block;            /* strips taken together, of about 16 KiB of x, at most QDWCONV_STRIPS */
} qdwconv_grid;

enum { QDWCONV_WIDTH = 128, QDWCONV_UNITS = 32, QDWCONV_CHANNELS = 32, QDWCONV_BLOCK = 16384, QDWCONV_STRIPS = 8 };

/* The units of strips of `lines` lines at most, `width` pixels at most, and of slices of multiples of `channels`. */
static inline qdwconv_grid qdwconv_split(const pcx_qdwconv_args *p, size_t lines, size_t width, size_t channels)
{
    qdwconv_grid g = { .segments = ceil_div(p->ow, width), .lines = lines, .pairs = ceil_div(p->oh, lines) };
    if (!p->c || !p->b || !p->oh || !p->ow)
        return g;
    g.width = ceil_div(p->ow, g.segments);
    g.strips = p->b * g.pairs * g.segments;
    const size_t groups = max_size(p->c / channels, 1); /* the remaining channels belong to the last group */
    const size_t each = ceil_div(groups, min_size(groups, ceil_div(QDWCONV_UNITS, g.strips)));
    g.slices = ceil_div(groups, each);
    g.channels = each * channels;
    const size_t fit = QDWCONV_BLOCK / max_size(lines * g.width * p->sw * p->sh * p->c, 1);
    g.block = min_size(max_size(fit, 1), QDWCONV_STRIPS);
    return g;
}

/* The end of the channels of a slice. */
static inline size_t qdwconv_slice_end(const pcx_qdwconv_args *p, const qdwconv_grid *g, size_t slice)
{
    return slice + 1 < g->slices ? (slice + 1) * g->channels : p->c;
}

/* The pixels [first, first + count) of output lines [y, y + lines), of all images, that a strip is. */
typedef struct {
    size_t y, lines, first, count;
} qdwconv_strip;

static inline qdwconv_strip qdwconv_strip_at(const pcx_qdwconv_args *p, const qdwconv_grid *g, size_t strip)
{
    const size_t first = strip % g->segments * g->width, pair = strip / g->segments;
    const size_t y = pair % g->pairs * g->lines;
    return (qdwconv_strip){ pair / g->pairs * p->oh + y, min_size(g->lines, p->oh - y), first,
                            first < p->ow ? min_size(g->width, p->ow - first) : 0 };
}

PCX_HIDDEN pcx_run_fn qdwconv_scalar;

/* qdwconv_lines.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t qdwconv_lines_units(const void *args, const qdwconv_micro *micro);
PCX_HIDDEN size_t qdwconv_lines_scratch(const void *args, const qdwconv_micro *micro);
PCX_HIDDEN void qdwconv_lines_run(const void *args, size_t begin, size_t end, void *scratch,
                                  const qdwconv_micro *micro);

PCX_HIDDEN size_t qdwconv_lines_prepared(const void *args, const qdwconv_micro *micro);
PCX_HIDDEN void qdwconv_lines_prepare(const void *args, void *prepared, const qdwconv_micro *micro);

#endif
