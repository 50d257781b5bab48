/* sconv.h - what the sconv files share.  Coordinates are size_t; what lies above or left of the image is huge. */
#ifndef PCX_SCONV_H
#define PCX_SCONV_H

#include "../sgemm/sgemm.h"

/* Where in the image the window of an output pixel begins. */
typedef struct {
    size_t image, y, x;
} sconv_place;

PCX_INLINE sconv_place sconv_at(const pcx_sconv_args *p, size_t pixel)
{
    const size_t line = pixel / p->ow;
    return (sconv_place){ line / p->oh, line % p->oh * p->sh - p->pt, pixel % p->ow * p->sw - p->pl };
}

#if PCX_X86
PCX_HIDDEN size_t sconv_units_avx2(const void *args);
PCX_HIDDEN size_t sconv_scratch_avx2(const void *args);
PCX_HIDDEN void sconv_avx2(const void *args, size_t begin, size_t end, void *scratch);
#endif

#endif
