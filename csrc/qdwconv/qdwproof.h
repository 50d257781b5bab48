/*
 * qdwproof.h - depthwise weights for AVX2, and how many pairs of taps may share int16 lanes.
 *
 * Taps are taken in pairs in the order (ky, kx), 32 channels at a time.  The bounds are those of
 * qproof.h: P, N <= 128 in each pair; P + N <= 256 in a window of several pairs, whose lane starts
 * at floor(255 (N - P) / 2).  Two windows of 3 pairs hold 3 x 3 taps, two of 7 hold 5 x 5; two
 * cost no more than one, as vpmaddwd adds two int16 sums while it widens.
 *
 * Interleaving bytes of two taps works within 128-bit halves, so vectors hold the channels
 *   int16, half h:   8h..8h+7 | 8h+16..8h+23        int32, quarter q:   4q..4q+3 | 4q+16..4q+19
 */
#ifndef PCX_QDWPROOF_H
#define PCX_QDWPROOF_H

#include "../runtime/pcx.h"

enum { QDW_NC = 32 };

/* The channels [first, first + 32), those beyond c with zero weights. */
typedef struct {
    _Alignas(64) size_t window;        /* pairs of a window: 7, 3, 1; 0: none is proven */
    const int8_t *pairs;  /* windows: [pairs][half][16 channels][2 taps] */
    const int16_t *wide;  /* none proven: [pairs][quarter][8 channels][2 taps], less wzp */
    const int16_t *start; /* [ceil(pairs/window)][half][16], where window > 1 */
    size_t first;
    int32_t fix[QDW_NC]; /* what the starts add to each channel */
} qdwproof;

/* Groups of 32 channels; the last one ends at c and so may overlap the one before. */
static inline size_t qdw_groups(size_t c) { return ceil_div(c, QDW_NC); }

/* Bytes for, and the groups of, w i8[taps,c]: first qdwproof[qdw_groups(c)], then what they point to. */
PCX_HIDDEN size_t qdwproof_bytes(size_t taps, size_t c);
PCX_HIDDEN void qdwproof_make(size_t taps, size_t c, const int8_t *w, const int32_t *wzp, void *proofs);

#endif
