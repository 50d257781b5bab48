/* csrmm.h - what the csrmm files share. */
#ifndef PCX_CSRMM_H
#define PCX_CSRMM_H

#include "../common/pcx.h"

enum { CSRMM_VECTORS = 8, CSRMM_TALL = 1 << 22 }; /* of a panel; greatest k of which a panel is made */

typedef struct {
    size_t vectors, panels, rows, groups; /* as in spmm.h */
} csrmm_split;

PCX_HIDDEN void csrmm_scalar(const void *args, size_t begin, size_t end, void *scratch);

#if PCX_X86
PCX_HIDDEN void csrmm_avx2(const void *args, size_t begin, size_t end, void *scratch);
PCX_HIDDEN size_t csrmm_units_avx2(const void *args);
PCX_HIDDEN size_t csrmm_scratch_avx2(const void *args);
#endif

#endif
