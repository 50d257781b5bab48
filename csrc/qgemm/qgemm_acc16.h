/*
 * qgemm_acc16.h - int16 accumulation: how many steps of packed weights may be added up in int16 lanes without
 * overflow, whatever the activations, derived from the weights.
 *
 * A step leaves two int16 lanes per column: the sums of its first and of its last two products
 * with u8.  Let P and N be the sums of the positive and of the negated negative weights of a set.
 *   pair    vpmaddubsw saturates: exact if P <= 128 and N <= 128, as 255 * 128 = 32640.
 *   chunk   `depth` consecutive steps are added up by vpaddw, which wraps: only the total counts.
 *           It lies in [start - 255 N, start + 255 P]; with start = floor(255 (N - P) / 2) that is
 *           within 255 * 256 / 2 = 32640 of zero if P + N <= 256.
 * A chunk of one step is a pair and needs no start.
 *
 * Weights that exceed these bounds are split, w = main + rest, such that `main` is within the bounds.  Only the
 * steps with a nonzero rest are stored in `rest`, which is summed separately.  The largest depth is then not always
 * the fastest; qgemm_acc16_make compares measured costs of steps.
 */
#ifndef PCX_QGEMM_ACC16_H
#define PCX_QGEMM_ACC16_H

#include "../common/pcx.h"

enum { QGEMM_NR = 16, QGEMM_STEP = 64 /* bytes of a step: 16 columns, 4 k */ };

/* Steps that are summed in one go. */
typedef struct {
    size_t steps, depth;    /* 8, 4, 2 or 1 steps a chunk; 0: products must be widened to int32 */
    const int8_t *w;        /* [steps,16,4]; NULL: the panel as it is */
    const uint32_t *at;     /* [steps]: which steps of the panel these are; NULL: all */
    const int16_t *start;   /* [ceil(steps/depth)][16 columns][2], where depth > 1 */
    int32_t fix[QGEMM_NR];  /* what the starts add to a column */
} qgemm_acc16_part;

/* One panel of 16 columns; rest.steps is 0 if all weights are within the bounds. */
typedef struct {
    _Alignas(64) qgemm_acc16_part main;
    qgemm_acc16_part rest;
} qgemm_acc16;

/* How many steps may have a rest. */
static inline size_t qgemm_acc16_rest(size_t steps) { return steps / 2 + 8; }

/* On AArch64 what is made is uint8_t[panels][windows]: how many steps of each window may be added up at once, 4, 2 or 1. */
enum { QGEMM_WINDOW = 4 /* steps */ };
static inline size_t qgemm_acc16_windows(size_t steps) { return ceil_div(steps, QGEMM_WINDOW); }

/*
 * Bytes for, and the int16 accumulation of, panels of `steps` steps: i8[panels,steps,16,4] -> qgemm_acc16[panels] and
 * what they point to.  The bytes are for the worst weights; those not needed, at the end, stay untouched.
 */
PCX_HIDDEN size_t qgemm_acc16_bytes(size_t panels, size_t steps);
PCX_HIDDEN void qgemm_acc16_make(size_t panels, size_t steps, const int8_t *w, void *made);

/* What was made of the panels from `panel` on. */
static inline const void *qgemm_acc16_at(const void *made, size_t panel, size_t steps)
{
    return PCX_ARM64 ? (const char *)made + panel * qgemm_acc16_windows(steps) : (const char *)made + panel * sizeof(qgemm_acc16);
}

#endif
