/*
 * qproof.h - how many steps of packed weights may share int16 lanes, proven from the weights.
 *
 * A step leaves two int16 lanes per column: the sums of its first and of its last two products
 * with u8.  Let P and N be the sums of the positive and of the negated negative weights of a set.
 *   pair    vpmaddubsw saturates: exact if P <= 128 and N <= 128, as 255 * 128 = 32640.
 *   window  `steps` consecutive steps are added up by vpaddw, which wraps: only the total counts.
 *           It lies in [start - 255 N, start + 255 P]; with start = floor(255 (N - P) / 2) that is
 *           within 255 * 256 / 2 = 32640 of zero if P + N <= 256.
 * A window of one step is a pair and needs no start.  What the starts add to a column is in `fix`.
 */
#ifndef PCX_QPROOF_H
#define PCX_QPROOF_H

#include "../runtime/pcx.h"

enum { QGEMM_NR = 16, QGEMM_STEP = 64 /* bytes of a step: 16 columns, 4 k */ };

/* One panel of 16 columns. */
typedef struct {
    _Alignas(64) size_t window; /* 8, 4, 2 or 1 steps; 0: not even pairs are proven */
    const int16_t *start; /* [ceil(steps/window)][16 columns][2], for windows of 2 and more */
    int32_t fix[QGEMM_NR];
} qproof;

/* Bytes for, and the proofs of, panels of `steps` steps: i8[panels,steps,16,4] -> qproof[panels]. */
PCX_HIDDEN size_t qproof_bytes(size_t panels, size_t steps);
PCX_HIDDEN void qproof_make(size_t panels, size_t steps, const int8_t *w, void *proofs);

#endif
