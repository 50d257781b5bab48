/* cpu.c - what this CPU can do, and which implementation to take for it. */
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
#elif PCX_ARM64
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
#else
uint32_t pcx_cpu(void) { return 0; }
#endif

const pcx_impl *pcx_select(const pcx_kernel *kernel, uint32_t cpu)
{
    const pcx_impl *impl = kernel->impls;
    while (impl->needs & ~cpu)
        impl++; /* scalar needs nothing, so this ends */
    return impl;
}

static const pcx_kernel *const all[] = {
#define X(name) &pcx_##name,
    PCX_KERNELS(X)
#undef X
    NULL,
};

const pcx_kernel *const *pcx_kernels(void) { return all; }

const pcx_kernel *pcx_kernel_named(const char *name)
{
    for (const pcx_kernel *const *k = all; *k; k++)
        if (!strcmp((*k)->name, name))
            return *k;
    return NULL;
}

size_t pcx_dtype_bytes(size_t dtype)
{
    static const unsigned char bytes[] = { 0, 1, 1, 4, 4, 8, 1, 2, 8, 2, 2, 4, 8, 2 };
    return dtype < sizeof bytes ? bytes[dtype] : 0;
}
