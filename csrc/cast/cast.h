/* cast.h - private to the family. */
#ifndef PCX_CAST_H
#define PCX_CAST_H

#include "../common/half.h"

enum { CAST_BLOCK = 256, CAST_UNIT = 16 * CAST_BLOCK };

PCX_HIDDEN pcx_run_fn cast_scalar;
#if PCX_X86
PCX_HIDDEN pcx_run_fn cast_avx2;
#endif
#if PCX_ARM64
PCX_HIDDEN pcx_run_fn cast_neon;
#endif

#endif
