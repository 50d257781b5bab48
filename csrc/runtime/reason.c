/* reason.c - see reason.h. */
#include "reason.h"

#include <stdarg.h>
#include <stdio.h>

int refuse(const reason *why, const char *format, ...)
{
    if (!why->text || !why->bytes)
        return PCX_BAD_PLAN;
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, why->bytes, format, args);
    va_end(args);
    for (char *c = why->text; *c; c++) /* names come from files: they write no lines of their own */
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    return PCX_BAD_PLAN;
}
