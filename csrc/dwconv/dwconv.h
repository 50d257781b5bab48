/* dwconv.h - what the dwconv files share. */
#ifndef PCX_DWCONV_H
#define PCX_DWCONV_H

#include "../common/pcx.h"

#if PCX_X86
PCX_HIDDEN size_t dwconv_units_avx2(const void *args);
PCX_HIDDEN size_t dwconv_scratch_avx2(const void *args);
PCX_HIDDEN void dwconv_avx2(const void *args, size_t begin, size_t end, void *scratch);
PCX_HIDDEN size_t dwconv_units_avx512(const void *args);
PCX_HIDDEN void dwconv_avx512(const void *args, size_t begin, size_t end, void *scratch);
#endif
#if PCX_ARM64
PCX_HIDDEN size_t dwconv_units_neon(const void *args);
PCX_HIDDEN void dwconv_neon(const void *args, size_t begin, size_t end, void *scratch);
#endif

#endif
