/*
 * qdwconv_neon.h - depthwise weights for NEON: 16 channels at a time, products of i8 added up in int16 while that is exact.
 *
 * Activations are i8 (u8 less 128), so a window of taps whose positive weights sum to P and negated negative ones to N
 * stays within 128 (P + N): exact if P + N <= 255.  3 x 3 and 5 x 5 have three depths: all taps; those of a row; 3 of
 * a row of five, 2 of a row of three.  What fits none, other kernels and weights with zero points are i16 and summed in int32.
 */
#ifndef PCX_QDWCONV_NEON_H
#define PCX_QDWCONV_NEON_H

#include "../common/pcx.h"

enum { QDW_SIXTEEN = 16, QDW_BOUND = 255 };

/* How deep the products of a window are added up in int16. */
enum { QDW_WIDE, QDW_PART, QDW_ROW, QDW_ALL };

/* 16 channels, of which some may lie beyond c: their depth, then the weights [kh*kw,16], i16 if the depth is QDW_WIDE. */
typedef struct {
    _Alignas(16) size_t depth;
    size_t unused;
} qdwconv_sixteen;

static inline size_t qdwconv_sixteens(size_t c) { return ceil_div(c, QDW_SIXTEEN); }

/* The first channel of the s-th sixteen; the last one ends at c. */
static inline size_t qdwconv_sixteen_at(size_t s, size_t c)
{
    return c < QDW_SIXTEEN ? 0 : min_size(s * QDW_SIXTEEN, c - QDW_SIXTEEN);
}

static inline size_t qdwconv_sixteen_bytes(size_t taps) { return sizeof(qdwconv_sixteen) + taps * QDW_SIXTEEN * 2; }

/* Taps of a window at a depth less than QDW_ALL. */
static inline size_t qdwconv_sixteen_part(size_t kw, size_t depth) { return depth == QDW_ROW ? kw : (kw + 1) / 2; }

/* As qdwconv_micro's. */
PCX_HIDDEN size_t qdwconv_neon_prepared(size_t kh, size_t kw, size_t c);
PCX_HIDDEN void qdwconv_neon_prepare(size_t kh, size_t kw, size_t c, const int8_t *w, const int32_t *wzp, void *made);

#endif
