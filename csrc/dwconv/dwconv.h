/* dwconv.h - what the dwconv files share. */
#ifndef PCX_DWCONV_H
#define PCX_DWCONV_H

#include "../runtime/pcx.h"

#endif
