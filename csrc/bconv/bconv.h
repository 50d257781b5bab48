/* bconv.h - the driver.  Coordinates are size_t; what lies above or left of the image is huge. */
#ifndef PCX_BCONV_H
#define PCX_BCONV_H

#include "../bgemm/bgemm.h"

/* bconv_rows.c: for any micro-kernel of bgemm.  See PCX_DRIVER. */
PCX_HIDDEN size_t bconv_rows_units(const void *args, const bgemm_micro *micro);
PCX_HIDDEN size_t bconv_rows_scratch(const void *args, const bgemm_micro *micro);
PCX_HIDDEN void bconv_rows_run(const void *args, size_t begin, size_t end, void *scratch, const bgemm_micro *micro);

#endif
