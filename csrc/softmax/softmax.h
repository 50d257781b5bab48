/* softmax.h - what the softmax files share. */
#ifndef PCX_SOFTMAX_H
#define PCX_SOFTMAX_H

#include "../common/act.h"

/* A row is summed in so many lanes, which are joined in a tree: the same bytes on every ISA. */
enum { SOFTMAX_LANES = 32 };

/*
 * e^x = 2^n e^r, |r| <= ln2 / 2; C2 to C6 of e^r - 1 - r, whose error relative to e^r is below 2^-28.  The magic number adds
 * exponent's bias to n, so that a shift makes 2^n, which is 0 from -87.7 down.  The last two of six FMA round: below
 * 1.5 * 2^-24 together, and with n * ln2, whose low part is off by 2^-57, below 2 * 2^-24.
 */
#define SOFTMAX_MIN   -88.0f
#define SOFTMAX_MAGIC 12583039.0f /* 1.5 * 2^23 + 127 */
#define SOFTMAX_LOG2E 1.44269504f
#define SOFTMAX_LN2   0.693147182f
#define SOFTMAX_LN2_LOW -1.90465421e-9f
#define SOFTMAX_C6 1.3818742e-3f
#define SOFTMAX_C5 8.36872123e-3f
#define SOFTMAX_C4 4.16682921e-2f
#define SOFTMAX_C3 0.166665211f
#define SOFTMAX_C2 0.49999994f

/* `rows` rows of r neighbours; out may be x. */
typedef void softmax_rows_fn(const float *x, size_t rows, size_t r, int log, float *out);

#if PCX_X86
PCX_HIDDEN softmax_rows_fn softmax_avx2_rows, softmax_avx512_rows;
#endif

#endif
