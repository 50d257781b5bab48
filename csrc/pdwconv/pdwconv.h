/* pdwconv.h - what the pdwconv files share. */
#ifndef PCX_PDWCONV_H
#define PCX_PDWCONV_H

#include "../runtime/pcx.h"

/* A unit is a few neighbouring planes: so many that there are at most 32 units. */
static inline size_t pdwconv_planes(const pcx_pdwconv_args *p) { return ceil_div(p->c, 32); }

#if PCX_X86
PCX_HIDDEN void pdwconv_avx2(const void *args, size_t begin, size_t end, void *scratch);
#endif

#endif
