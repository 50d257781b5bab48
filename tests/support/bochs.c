/*
 * bochs.c - loaded before bochscpu, so that it emulates a CPU with AVX-512 VNNI, BF16, VBMI and AVX-VNNI: its own choice,
 * Cannon Lake, has none of these.  Also the functions of a newer C library that it was linked against.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *bochs_library;
void bochs_library_is(const char *path) { bochs_library = path; }

/* Bochs' factory for Cannon Lake, replaced by its factory for Sapphire Rapids. */
void *_Z23create_corei3_cnl_cpuidP8BX_CPU_C(void *cpu)
{
    void *(*make)(void *);
    *(void **)&make = dlsym(dlopen(bochs_library, RTLD_NOW | RTLD_NOLOAD), "_Z28create_sapphire_rapids_cpuidP8BX_CPU_C");
    return make(cpu);
}

unsigned long __isoc23_strtoul(const char *s, char **end, int base) { return strtoul(s, end, base); }
unsigned long long __isoc23_strtoull(const char *s, char **end, int base) { return strtoull(s, end, base); }
long __isoc23_strtol(const char *s, char **end, int base) { return strtol(s, end, base); }
long long __isoc23_strtoll(const char *s, char **end, int base) { return strtoll(s, end, base); }
int __isoc23_sscanf(const char *s, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const int count = vsscanf(s, format, list);
    va_end(list);
    return count;
}
