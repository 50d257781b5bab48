/*
 * qgemm_acc16_neon.c - int16 accumulation on AArch64, for CPUs without dot products: which windows of four steps may be
 * added up in int16 lanes.  smull and smlal give each of the 64 weights of a step a lane of its own, and activations
 * are i8 there (u8 less 128), so a window's total is at most 128 (P + N) in size, with P and N the sums of the lane's
 * positive and of its negated negative weights: exact if P + N <= 255, as 128 * 255 = 32640.  A single step always is.
 */
#include "qgemm_acc16.h"

#if PCX_ARM64

enum { BOUND = 255 };

size_t qgemm_acc16_bytes(size_t panels, size_t steps) { return panels * qgemm_acc16_windows(steps); }

/* Whether steps [from, to) of a panel are within the bound. */
static int qgemm_acc16_neon_fits(const int8_t *w, size_t from, size_t to)
{
    uint16_t size[QGEMM_STEP] = { 0 };
    int fits = 1;
    for (size_t s = from; s < to; s++)
        for (size_t x = 0; x < QGEMM_STEP; x++) {
            const int weight = w[s * QGEMM_STEP + x];
            size[x] = (uint16_t)(size[x] + (weight < 0 ? -weight : weight));
        }
    for (size_t x = 0; x < QGEMM_STEP; x++)
        fits &= size[x] <= BOUND;
    return fits;
}

void qgemm_acc16_make(size_t panels, size_t steps, const int8_t *w, void *made)
{
    uint8_t *depth = made;
    for (size_t panel = 0; panel < panels; panel++, w += steps * QGEMM_STEP)
        for (size_t s = 0; s < steps; s += QGEMM_WINDOW, depth++) {
            const size_t end = min_size(s + QGEMM_WINDOW, steps), middle = min_size(s + 2, end);
            *depth = qgemm_acc16_neon_fits(w, s, end) ? 4
                     : qgemm_acc16_neon_fits(w, s, middle) && qgemm_acc16_neon_fits(w, middle, end) ? 2 : 1;
        }
}
#endif
