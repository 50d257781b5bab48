/* layernorm.c - scalar and the table. */
#include "layernorm.h"

static size_t layernorm_units(const void *args)
{
    const pcx_layernorm_args *p = args;
    return p->m;
}

static void layernorm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    layernorm_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, layernorm_units, layernorm_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, layernorm_units, layernorm_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_layernorm = {
    "layernorm", 1,
    "m n x:f32[m,n] scale?:f32[n] bias?:f32[n] epsilon:f32[1] rms out:f32[m,n]",
    impls,
};
