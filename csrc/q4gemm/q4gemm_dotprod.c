/* q4gemm_dotprod.c - 4-bit weights with sdot: q4gemm_tile_neon.h. */
#include "../common/pcx.h"

#if PCX_ARM64
#include <arm_neon.h>

PCX_TARGET(PCX_TARGET_DOTPROD)
#define Q4N(name) q4gemm_dotprod_##name
#define Q4N_DOT   PCX_SDOT_LANE
#include "q4gemm_tile_neon.h"

PCX_HIDDEN extern const q4gemm_micro q4gemm_micro_dotprod;
const q4gemm_micro q4gemm_micro_dotprod = Q4N_MICRO;

PCX_TARGET_END
#endif
