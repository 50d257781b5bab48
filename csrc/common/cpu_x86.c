/*
 * cpu_x86.c - what this x86-64 CPU can do.  CPUID says what it has, XCR0 what the operating system saves; compilers'
 * own __builtin_cpu_supports lacks names, a different set in each version.
 */
#define _DEFAULT_SOURCE /* syscall */
#include "pcx.h"

#if PCX_X86
#if defined(__linux__)
#include <unistd.h>
#endif

enum { EAX, EBX, ECX, EDX };
enum { YMM = 0x6, ZMM = 0xe6, TILES = 0x60000, TILE_DATA = 18 }; /* of XCR0; TILE_DATA is a bit's number */

static int cpu_x86_bit(uint32_t word, int at) { return (int)(word >> at & 1); }

/* Linux' arch_prctl, of this library's interest: 0x1021 to ask which states it supports, 0x1023 to ask for one. */
static long cpu_x86_arch_prctl(long code, uintptr_t argument)
{
#if defined(__linux__)
    return syscall(158, code, argument);
#else
    return (void)code, (void)argument, -1;
#endif
}

static int cpu_x86_tiles_supported(void)
{
    uint64_t supported = 0;
    return !cpu_x86_arch_prctl(0x1021, (uintptr_t)&supported) && supported >> TILE_DATA & 1;
}

int pcx_cpu_permit(uint32_t needs)
{
    return !(needs & (PCX_AMXINT8 | PCX_AMXBF16)) || !cpu_x86_arch_prctl(0x1023, TILE_DATA);
}

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
    const int fma = cpu_x86_bit(leaf1[ECX], 12), f16c = cpu_x86_bit(leaf1[ECX], 29), avx2 = cpu_x86_bit(leaf7[EBX], 5);
    if ((saved & YMM) != YMM || !avx2 || !fma || !f16c)
        return cpu;
    cpu |= PCX_AVX2 | (cpu_x86_bit(leaf7_1[EAX], 4) ? PCX_AVXVNNI : 0);
    const uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if ((saved & ZMM) != ZMM || (leaf7[EBX] & f_dq_bw_vl) != f_dq_bw_vl)
        return cpu;
    cpu |= PCX_AVX512 | (cpu_x86_bit(leaf7[ECX], 11) ? PCX_AVX512VNNI : 0) |
           (cpu_x86_bit(leaf7[ECX], 1) ? PCX_AVX512VBMI : 0) | (cpu_x86_bit(leaf7_1[EAX], 5) ? PCX_AVX512BF16 : 0);
    if ((saved & TILES) == TILES && cpu_x86_bit(leaf7[EDX], 24) && cpu_x86_tiles_supported())
        cpu |= (cpu_x86_bit(leaf7[EDX], 25) ? PCX_AMXINT8 : 0) | (cpu_x86_bit(leaf7[EDX], 22) ? PCX_AMXBF16 : 0);
    return cpu;
}

#endif
