/* plan_builder.c - see plan_builder.h. */
#include "plan_builder.h"

#include <stdarg.h>
#include <stdio.h>

int builder_refuse(const builder *b, const char *format, ...)
{
    char what[256], slot[64] = "", place[128] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (b->slot.length)
        snprintf(slot, sizeof slot, ", %.*s", (int)b->slot.length, b->slot.text);
    if (b->program) {
        const size_t index = (size_t)(b->program - b->plan->programs);
        if (b->kernel)
            snprintf(place, sizeof place, "program %zu, step %zu (%s)%s: ", index, b->step, b->kernel, slot);
        else
            snprintf(place, sizeof place, "program %zu: ", index);
    }
    return refuse(b->why, "%s%s", place, what);
}
