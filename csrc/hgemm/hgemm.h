/* hgemm.h - private to the family. */
#ifndef PCX_HGEMM_H
#define PCX_HGEMM_H

#include "../sgemm/sgemm.h"

#if PCX_X86
PCX_HIDDEN size_t hgemm_units_avx2(const void *args);
PCX_HIDDEN size_t hgemm_scratch_avx2(const void *args);
PCX_HIDDEN void hgemm_avx2(const void *args, size_t begin, size_t end, void *scratch);
#endif

#endif
