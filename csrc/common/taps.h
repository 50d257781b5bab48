/* taps.h - which taps of a window lie inside an image. */
#ifndef PCX_TAPS_H
#define PCX_TAPS_H

#include "pcx.h"

/*
 * The taps [*first, *last) of k whose position start + tap * d, modulo 2^64, is below extent.  They are
 * neighbours as long as k * d < 2^62: contracts bound k and d for it.
 */
static inline void taps_of(size_t start, size_t k, size_t d, size_t extent, size_t *first, size_t *last)
{
    if (start < extent && k && extent - start > (k - 1) * d) { /* most windows lie inside */
        *first = 0;
        *last = k;
        return;
    }
    const size_t before = 0 - start; /* as far as it begins below 0, or huge */
    const size_t i = start < extent ? 0 : d && before <= k * d ? ceil_div(before, d) : k;
    if (i >= k || start + i * d >= extent) {
        *first = *last = k;
        return;
    }
    *first = i;
    *last = d ? min_size(k, i + ceil_div(extent - (start + i * d), d)) : k;
}

#endif
