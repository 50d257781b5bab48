/*
 * qdwconv_acc16.h - depthwise weights for AVX2, and how many pairs of taps may be added up in int16 lanes.
 *
 * Taps are multiplied in pairs, 32 channels at a time: rows 0 and 1, 2 and 3 ..., column by column; a single last row
 * two columns at a time.  So code that slides along a line interleaves two rows once for all windows that contain a
 * column.  The bounds are those of qgemm_acc16.h: P, N <= 128 in each pair; P + N <= 256 in a chunk of several pairs,
 * whose lane starts at floor(255 (N - P) / 2).  One chunk of 7 pairs covers 3 x 3 taps, two cover 5 x 5; two cost
 * little more than one, since vpmaddwd adds two int16 sums while it widens.  If one chunk covers all taps, it starts at
 * 255 N and is read as unsigned.
 *
 * Interleaving bytes of two taps works within 128-bit halves, so vectors hold the channels
 *   int16, half h:   8h..8h+7 | 8h+16..8h+23        int32, quarter q:   4q..4q+3 | 4q+16..4q+19
 */
#ifndef PCX_QDWCONV_ACC16_H
#define PCX_QDWCONV_ACC16_H

#include "../common/pcx.h"

enum { QDW_NC = 32 };

/* The channels [first, first + 32), those beyond c with zero weights. */
typedef struct {
    _Alignas(64) size_t depth; /* pairs of a chunk: 7, 3, 1; 0: products must be widened to int32 */
    const int8_t *pairs;  /* depth > 0: [half][pairs][16 channels][2 taps] */
    const int16_t *wide;  /* depth 0: [pairs][quarter][8 channels][2 taps], less wzp */
    const int16_t *start; /* [half][ceil(pairs/depth)][16], where depth > 1; 128 pairs bytes behind `pairs` */
    int single;           /* one chunk of several pairs covers all taps: its sums are unsigned */
    size_t first;
    int32_t fix[QDW_NC]; /* what the starts add to each channel */
} qdwconv_acc16;

/* Groups of 32 channels; the last one ends at c and so may overlap the one before. */
static inline size_t qdwconv_groups(size_t c) { return ceil_div(c, QDW_NC); }

/* Bytes for, and the groups of, w i8[kh*kw,c]: first qdwconv_acc16[qdwconv_groups(c)], then what they point to. */
PCX_HIDDEN size_t qdwconv_acc16_bytes(size_t kh, size_t kw, size_t c);
PCX_HIDDEN void qdwconv_acc16_make(size_t kh, size_t kw, size_t c, const int8_t *w, const int32_t *wzp, void *made);

#endif
