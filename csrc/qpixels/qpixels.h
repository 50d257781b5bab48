/* qpixels.h - what the qpixels files share. */
#ifndef PCX_QPIXELS_H
#define PCX_QPIXELS_H

#include "../common/round.h"

/*
 * How floats become codes.  `fast`: x / scale is found without dividing.  inverse is 1 / scale, rounded, and rest what
 * it lacks, so that q = fma(x, inverse, x * rest) is less than one unit in the last place from x / scale, its remainder
 * r = fma(-q, scale, x) exact, and fma(r, inverse, q) the rounded quotient (Markstein, IBM J. Res. Dev. 34, 1990).
 * Nothing overflows, as x is clamped to [low, high], whose codes are the limits.  Numbers below 2^-126 are lost only where
 * the quotient is too small to matter.
 */
typedef struct {
    float scale, inverse, rest;
    float low, high; /* of x */
    int32_t zero, min, max;
    size_t c;
    int fast;
} qpixels_grid;

enum { QPIXELS_AHEAD = 1024 }; /* bytes: floats that the caller has just written lie in the third cache, if in any */

/* A line of n pixels, whose channels are xc floats apart; pixels are xw apart. */
typedef struct {
    const float *x;
    size_t xc, xw, n;
} qpixels_line;

/* One line to 4 n bytes. */
typedef void qpixels_line_fn(const qpixels_grid *g, const qpixels_line *line, uint8_t *out);

/* qpixels.c: the whole kernel but for the line, and the portable line. */
PCX_HIDDEN void qpixels_any(const pcx_qpixels_args *p, size_t begin, size_t end, qpixels_line_fn *line);
PCX_HIDDEN qpixels_line_fn qpixels_scalar_line;
PCX_HIDDEN pcx_run_fn qpixels_avx2, qpixels_avx512, qpixels_neon;

/* Pixel x of a line and those after it. */
static inline qpixels_line qpixels_from(const qpixels_line *line, size_t x)
{
    return (qpixels_line){ line->x + x * line->xw, line->xc, line->xw, line->n - x };
}

#endif
