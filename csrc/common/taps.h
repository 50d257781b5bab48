/* taps.h - which taps of a window fall inside an image. */
#ifndef PCX_TAPS_H
#define PCX_TAPS_H

#include "pcx.h"

/*
 * The taps [*first, *last) of k whose position start + tap * d, modulo 2^64, is below extent.  They are
 * neighbours as long as k * d < 2^62: contracts bound k and d for it.
 */
static inline void pcx_taps(size_t start, size_t k, size_t d, size_t extent, size_t *first, size_t *last)
{
    size_t i = 0;
    while (i < k && start + i * d >= extent)
        i++;
    *first = i;
    while (i < k && start + i * d < extent)
        i++;
    *last = i;
}

#endif
