/* cpu_arm.c - what this Arm CPU can do, asked of the kernel. */
#include "pcx.h"

#if PCX_ARM64
#include <sys/auxv.h>

uint32_t pcx_cpu(void)
{
    const unsigned long hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
    uint32_t cpu = PCX_NEON;
    if (hwcap & 1ul << 20) /* HWCAP_ASIMDDP */
        cpu |= PCX_DOTPROD;
    if (hwcap2 & 1ul << 13) /* HWCAP2_I8MM */
        cpu |= PCX_I8MM;
    return cpu;
}

int pcx_cpu_permit(uint32_t needs) { return !(needs & ~pcx_cpu()); }
#endif
