/* sconv.h - what the sconv files share.  Coordinates are size_t: above or left of the image they wrap to huge numbers. */
#ifndef PCX_SCONV_H
#define PCX_SCONV_H

#include "../sgemm/sgemm.h"

/* Where the window of an output pixel begins in the image. */
typedef struct {
    size_t image, y, x;
} sconv_place;

PCX_INLINE sconv_place sconv_at(const pcx_sconv_args *p, size_t pixel)
{
    const size_t line = pixel / p->ow;
    return (sconv_place){ line / p->oh, line % p->oh * p->sh - p->pt, pixel % p->ow * p->sw - p->pl };
}

/* sconv_rows.c: the driver, for any micro-kernel of sgemm.  See PCX_DRIVER. */
PCX_HIDDEN size_t sconv_rows_units(const void *args, const sgemm_micro *micro);
PCX_HIDDEN size_t sconv_rows_scratch(const void *args, const sgemm_micro *micro);
PCX_HIDDEN void sconv_rows_run(const void *args, size_t begin, size_t end, void *scratch, const sgemm_micro *micro);

#endif
