/* bspmm.h - what the bspmm files share. */
#ifndef PCX_BSPMM_H
#define PCX_BSPMM_H

#include "../sgemm/sgemm.h"

#if PCX_X86
PCX_HIDDEN size_t bspmm_units_avx2(const void *args);
PCX_HIDDEN void bspmm_avx2(const void *args, size_t begin, size_t end, void *scratch);
#endif

#endif
