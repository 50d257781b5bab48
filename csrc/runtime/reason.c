/* reason.c - see reason.h. */
#include "reason.h"

#include <stdarg.h>
#include <stdio.h>

/*
 * How many bytes a control character or a change of the writing direction takes here, 0 if there is none: names come from
 * files, and write no lines and sequences of their own to a terminal.
 */
static int reason_control(const unsigned char *c)
{
    if (*c < ' ' || *c == 127)
        return 1;
    if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
        return 2; /* U+0080 to U+009F */
    if (c[0] != 0xe2)
        return 0;
    return (c[1] == 0x80 && c[2] >= 0xaa && c[2] <= 0xae) || (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9) ? 3 : 0;
}

int refuse(const reason *why, const char *format, ...)
{
    if (!why->text || !why->bytes)
        return PCX_BAD_PLAN;
    va_list args;
    va_start(args, format);
    vsnprintf(why->text, why->bytes, format, args);
    va_end(args);
    for (unsigned char *c = (unsigned char *)why->text; *c; c++)
        for (int i = reason_control(c); i > 0; i--)
            c[i - 1] = '?';
    return PCX_BAD_PLAN;
}
