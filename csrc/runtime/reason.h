/* reason.h - why something was refused, in one line. */
#ifndef PCX_REASON_H
#define PCX_REASON_H

#include "../common/pcx.h"

typedef struct {
    char *text; /* `bytes` long, or NULL */
    size_t bytes;
} reason;

/* Write the reason, on one printable line; PCX_BAD_PLAN. */
int refuse(const reason *why, const char *format, ...) PCX_PRINTF(2, 3);

#endif
