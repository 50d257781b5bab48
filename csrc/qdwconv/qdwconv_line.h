/*
 * qdwconv_line.h - lines of a depthwise convolution: what the driver (qdwconv_lines.c) hands to a micro-kernel.
 */
#ifndef PCX_QDWCONV_LINE_H
#define PCX_QDWCONV_LINE_H

#include "../common/qepilogue.h"

/* What is common to all lines of a layer.  Zero points of weights lie in [-128, 127]. */
typedef struct {
    size_t kh, kw, sw, dw, c;
    int32_t xzp;
    const int32_t *colsum, *wzp; /* [c]; wzp may be NULL */
    const void *weights;         /* what the micro-kernel's `prepare` made of the same kh, kw and wzp */
    const qepilogue *tail;       /* its arrays are [c] */
    void *scratch;               /* the micro-kernel's, aligned to 64, of this thread alone */
} qdwconv_layer;

/*
 * `count` output pixels and what they are made of: columns 0 .. (count - 1) sw + (kw - 1) dw of kh rows, of which
 * [low, high) lie in memory; the others have the values at `pad`.  Where c < 32, reads reach 32 - c bytes further.
 * With two lines, there is one row more, and the second line is made of rows 1 .. kh.
 */
typedef struct {
    const uint8_t *const *row; /* [kh + lines - 1]: column `low`, channel 0 */
    size_t step;               /* bytes from a column to the next */
    size_t low, high;
    const uint8_t *pad;  /* c, at least 64, times xzp */
    size_t first, count; /* the index of the first pixel in the output and its residual, and how many */
    size_t lines, width; /* 1 or 2; pixels from a line to the next */
    uint8_t *out;        /* of the first pixel, channel 0 */
    size_t ldo;          /* bytes from a pixel to the next */
} qdwconv_line;

/* Whether four rows make two lines of output: 3 x 3, the windows of neighbouring lines one row apart. */
static inline int qdwconv_shares_rows(const pcx_qdwconv_args *p)
{
    return p->kh == 3 && p->kw == 3 && p->sw == 1 && p->sh == p->dh;
}

/* What an ISA has of its own.  Channels are taken in groups, the first of them of `channels` each. */
typedef struct qdwconv_micro {
    size_t channels, width, lines; /* a multiple of 16; pixels of a strip at most; 2: where qdwconv_shares_rows */
    size_t (*groups)(size_t c);
    size_t (*prepared)(size_t kh, size_t kw, size_t c); /* bytes */
    void (*prepare)(size_t kh, size_t kw, size_t c, const int8_t *w, const int32_t *wzp, void *made);
    size_t (*scratch)(size_t kh, size_t kw, size_t c); /* bytes */
    void (*make)(const qdwconv_layer *layer);          /* fills layer->scratch, once per call of the kernel */
    /*
     * Groups [begin, end) of one line of output, or two.  The last ones, unless c is a multiple of `channels`, may
     * write channels of those before again: the same thread must do all of them, in this order.
     */
    void (*run)(const qdwconv_layer *layer, const qdwconv_line *line, size_t begin, size_t end);
    pcx_suits_fn *takes;               /* the arguments that it takes; NULL: all.  `prepare` may not ask it */
    const struct qdwconv_micro *other; /* what takes all others */
} qdwconv_micro;

#endif
