/* cpu_arm.c - what this Arm CPU can do, asked of the operating system; elsewhere than on Linux and macOS: NEON alone. */
#if defined(__APPLE__)
#  define _DARWIN_C_SOURCE /* sysctlbyname */
#endif
#include "pcx.h"

#if PCX_ARM64
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

/* `bundle` if the CPU has it: a bit of AT_HWCAP (`word` 0) or AT_HWCAP2; macOS has names. */
static uint32_t cpu_arm_has(uint32_t bundle, int word, int bit, const char *name)
{
#if defined(__linux__)
    (void)name;
    return getauxval(word ? AT_HWCAP2 : AT_HWCAP) >> bit & 1 ? bundle : 0;
#elif defined(__APPLE__)
    int has = 0;
    size_t bytes = sizeof has;
    (void)word, (void)bit;
    return !sysctlbyname(name, &has, &bytes, NULL, 0) && has ? bundle : 0;
#else
    (void)word, (void)bit, (void)name;
    return 0 & bundle;
#endif
}

uint32_t pcx_cpu(void)
{
    return PCX_NEON | cpu_arm_has(PCX_DOTPROD, 0, 20, "hw.optional.arm.FEAT_DotProd") |
           cpu_arm_has(PCX_I8MM, 1, 13, "hw.optional.arm.FEAT_I8MM") |
           cpu_arm_has(PCX_ARMBF16, 1, 14, "hw.optional.arm.FEAT_BF16");
}

int pcx_cpu_permit(uint32_t needs) { return !(needs & ~pcx_cpu()); }
#endif
