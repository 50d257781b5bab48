/* kernels.c - the list of kernels, which implementation a CPU gets, version, and sizes of types. */
#include "pcx.h"

#if !PCX_X86 && !PCX_ARM64 /* else cpu_x86.c, cpu_arm.c */
uint32_t pcx_cpu(void) { return 0; }
int pcx_cpu_permit(uint32_t needs) { return !needs; }
#endif

const char *pcx_version(void) { return PCX_VERSION; }

const pcx_impl *pcx_select(const pcx_kernel *kernel, uint32_t cpu, const void *args)
{
    const pcx_impl *impl = kernel->impls;
    while (impl->needs & ~cpu || (args && impl->suits && !impl->suits(args)) || !pcx_cpu_permit(impl->needs))
        impl++; /* scalar needs nothing and suits all, so this ends */
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
