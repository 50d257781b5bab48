/*
 * qdwconv_line.h - lines of a depthwise convolution on AVX2, for whoever keeps rows of images at hand.
 *
 * qdw_line_make once per call of a kernel, then qdw_line_run for each line of output.
 */
#ifndef PCX_QDWCONV_LINE_H
#define PCX_QDWCONV_LINE_H

#include "../common/qepilogue.h"
#include "qdwconv_acc16.h"

#if PCX_X86

/* What all lines of a layer have in common.  Zero points of weights lie in [-128, 127]. */
typedef struct {
    size_t kh, kw, sw, dw, c;
    int32_t xzp;
    const int32_t *colsum, *wzp; /* [c]; wzp may be NULL */
    const qdwconv_acc16 *proofs;      /* qdwconv_acc16_make of the same kh, kw and wzp */
    const qtail *tail;           /* its arrays are [c] */
    void *room;                  /* qdw_line_bytes, aligned to 64, of this thread alone */
} qdw_layer;

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
} qdw_line;

/* Bytes of `room`; of the layer's sizes only. */
PCX_HIDDEN size_t qdw_line_bytes(size_t kh, size_t kw, size_t c);
PCX_HIDDEN void qdw_line_make(const qdw_layer *layer);

/*
 * Groups [begin, end) of qdw_groups(c).  The last one, unless c is a multiple of 32, writes channels of the one
 * before again: the same thread must do both, in this order.
 */
PCX_HIDDEN void qdw_line_run(const qdw_layer *layer, const qdw_line *line, size_t begin, size_t end);

#endif
#endif
