/* cpu_x86.c - what this x86-64 CPU can do. */
#include "pcx.h"

#if PCX_X86
uint32_t pcx_cpu(void)
{
    uint32_t cpu = 0;
    __builtin_cpu_init(); /* __builtin_cpu_supports asks XGETBV too */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        cpu |= PCX_AVX2;
    if ((cpu & PCX_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        cpu |= PCX_AVX512VNNI;
    return cpu;
}
#endif
