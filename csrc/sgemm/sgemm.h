/* sgemm.h - what the sgemm files share.  Panels of NR columns; units are blocks of MB rows. */
#ifndef PCX_SGEMM_H
#define PCX_SGEMM_H

#include "../runtime/pcx.h"

enum { SGEMM_NR = 16 };

#endif
