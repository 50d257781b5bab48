/*
 * spmm_neon.c - eight pixels in two registers, up to eight such vectors a panel.
 * Loads limit: a nonzero and 64 pixels are 18, where there are 16 FMA.  llvm-mca 19, MAC a cycle on cortex-a72, neoverse-n1,
 * neoverse-v1: 3.45 of 3.56, 6.2 of 7.1, 10.4 of 10.7; in order (cortex-a55) 2.8.
 */
#include "spmm.h"

#include "../common/eight_neon.h"
#include "spmm_transpose.h"

#if PCX_ARM64

#define SPMM(name)     spmm_neon_##name
#define SPMM_VECTOR    eight_neon
#define SPMM_LOAD      eight_neon_load
#define SPMM_STORE     eight_neon_store
#define SPMM_BROADCAST eight_neon_broadcast
#define SPMM_ADD       eight_neon_add
#define SPMM_MIN       eight_neon_min
#define SPMM_MAX       eight_neon_max
#define SPMM_TILE      "spmm_tile_neon.h"
#define TILE_SOME      spmm_neon_dot_some
#include "spmm_multiply.h"

#define SPMM_HARDSWISH eight_neon_hardswish
#define SPMM_ACT_ROW(out, x, count, act, p) act_loop_run(x, out, count, act, p)
#include "spmm_ends.h"

PCX_HIDDEN extern const spmm_micro spmm_micro_neon;
const spmm_micro spmm_micro_neon = { SPMM_LANES, SPMM_VECTORS, 0, 0, spmm_neon_by_vectors, spmm_neon_gather,
                                     spmm_neon_finish };

#endif
