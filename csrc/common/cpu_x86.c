/*
 * cpu_x86.c - what this x86-64 CPU can do.  CPUID says what it has, XCR0 what the operating system saves; compilers'
 * own __builtin_cpu_supports lacks names, a different set in each version.
 */
#include "pcx.h"

#if PCX_X86

enum { EAX, EBX, ECX, EDX };

static int cpu_x86_bit(uint32_t word, int at) { return (int)(word >> at & 1); }

uint32_t pcx_cpu(void)
{
    uint32_t leaf0[4], leaf1[4], leaf7[4] = { 0 }, leaf7_1[4] = { 0 }, saved = 0, cpu = 0;
    PCX_CPUID(0, 0, leaf0);
    PCX_CPUID(1, 0, leaf1);
    if (leaf0[EAX] >= 7)
        PCX_CPUID(7, 0, leaf7);
    if (leaf7[EAX] >= 1)
        PCX_CPUID(7, 1, leaf7_1);
    if (cpu_x86_bit(leaf1[ECX], 27)) /* OSXSAVE */
        PCX_XGETBV(saved);
    const int ymm = (saved & 0x06) == 0x06, zmm = (saved & 0xe6) == 0xe6;
    const int fma = cpu_x86_bit(leaf1[ECX], 12), f16c = cpu_x86_bit(leaf1[ECX], 29), avx2 = cpu_x86_bit(leaf7[EBX], 5);
    if (ymm && avx2 && fma && f16c)
        cpu |= PCX_AVX2;
    if ((cpu & PCX_AVX2) && cpu_x86_bit(leaf7_1[EAX], 4))
        cpu |= PCX_AVXVNNI;
    const uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if ((cpu & PCX_AVX2) && zmm && (leaf7[EBX] & f_dq_bw_vl) == f_dq_bw_vl && cpu_x86_bit(leaf7[ECX], 11))
        cpu |= PCX_AVX512VNNI;
    return cpu;
}

#endif
