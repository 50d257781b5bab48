/* sgemm.h - what sgemm and the convolutions built on it share: panels of NR columns. */
#ifndef PCX_SGEMM_H
#define PCX_SGEMM_H

#include "../runtime/pcx.h"

enum { SGEMM_NR = 16 };

/* out[row[i], column + j] = act(sum[i, j] + bias + residual), one element at a time. */
PCX_HIDDEN void sgemm_finish(const pcx_epilogue *tail, float *out, size_t ldo, const size_t *row, size_t rows,
                             size_t column, size_t columns, const float *sum, size_t lds);

#endif
