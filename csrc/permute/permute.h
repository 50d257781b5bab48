/*
 * permute.h - what the permute files share.
 *
 * A copy is planned as strided dims of elements of `size` bytes, sorted so that the output is written in
 * order.  Either rows are contiguous on both sides, or one dim (p) is contiguous in x and another (q) in
 * out: then tiles of PERMUTE_P x PERMUTE_Q elements are transposed; or neither, and elements are moved
 * one by one.
 */
#ifndef PCX_PERMUTE_H
#define PCX_PERMUTE_H

#include "../common/walk.h"

enum { PERMUTE_P = 64, PERMUTE_Q = 64 };

typedef struct {
    size_t size;            /* bytes of an element: 1, 2, 4 or 8 */
    size_t p, p_out;        /* extent along x's contiguous dim, and its stride in out */
    size_t q, q_x;          /* extent along out's contiguous dim, and its stride in x */
    size_t p_tiles, q_tiles; /* 0: no transpose */
    walk rows;              /* of a transpose: the dims around it; otherwise all */
} permute_plan;

/* out[i * size + j * out_step] = x[i * x_step + j * size], i < nq, j < np, in elements of `size` bytes. */
typedef void permute_tile_fn(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step, size_t np, size_t nq,
                             size_t size);

PCX_HIDDEN permute_plan permute_make_plan(const pcx_permute_args *p);
PCX_HIDDEN void permute_any(const pcx_permute_args *p, size_t begin, size_t end, permute_tile_fn *tile);
PCX_HIDDEN permute_tile_fn permute_tile_scalar;
PCX_HIDDEN pcx_run_fn permute_avx2, permute_neon;

#endif
