/* softmax.h - what the softmax files share. */
#ifndef PCX_SOFTMAX_H
#define PCX_SOFTMAX_H

#include "../common/act.h"

/* A row is summed in so many lanes, which are joined in a tree: the same bytes on every ISA. */
enum { SOFTMAX_LANES = 32 };

/* `rows` rows of r neighbours; out may be x. */
typedef void softmax_rows_fn(const float *x, size_t rows, size_t r, int log, float *out);

#if PCX_X86
PCX_HIDDEN softmax_rows_fn softmax_avx2_rows, softmax_avx512_rows;
#endif

#endif
