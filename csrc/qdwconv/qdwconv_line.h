/*
 * qdwconv_line.h - lines of a depthwise convolution: what the driver (qdwconv_lines.c) hands to a micro-kernel.
 */
#ifndef PCX_QDWCONV_LINE_H
#define PCX_QDWCONV_LINE_H

#include "../common/qepilogue.h"
#include "qdwconv_acc16.h"

/* What is common to all lines of a layer.  Zero points of weights lie in [-128, 127]. */
typedef struct {
    size_t kh, kw, sw, dw, c;
    int32_t xzp;
    const int32_t *colsum, *wzp; /* [c]; wzp may be NULL */
    const qdwconv_acc16 *acc16;      /* qdwconv_acc16_make of the same kh, kw and wzp */
    const qepilogue *tail;           /* its arrays are [c] */
    void *scratch;               /* the micro-kernel's, aligned to 64, of this thread alone */
} qdwconv_layer;

/*
 * `count` output pixels and what they are made of: columns 0 .. (count - 1) sw + (kw - 1) dw of kh rows, of which
 * [low, high) lie in memory; the others have the values at `pad`.  Where c < 32, reads reach 32 - c bytes further.
 */
typedef struct {
    const uint8_t *const *row; /* [kh]: column `low`, channel 0 */
    size_t step;               /* bytes from a column to the next */
    size_t low, high;
    const uint8_t *pad;  /* c, at least 32, times xzp; NULL where no column is missing */
    size_t first, count; /* the index of the first pixel in the output and its residual, and how many */
    uint8_t *out;        /* of that pixel, channel 0 */
    size_t ldo;          /* bytes from a pixel to the next */
} qdwconv_line;

/* What an ISA has of its own. */
typedef struct {
    size_t (*scratch)(size_t kh, size_t kw, size_t c); /* bytes */
    void (*make)(const qdwconv_layer *layer);              /* fills layer->scratch, once per call of the kernel */
    /*
     * Groups [begin, end) of qdwconv_groups(c) of one line of output.  The last one, unless c is a multiple of 32, writes
     * channels of the one before again: the same thread must do both, in this order.
     */
    void (*run)(const qdwconv_layer *layer, const qdwconv_line *line, size_t begin, size_t end);
} qdwconv_micro;

#endif
