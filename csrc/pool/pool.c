/* pool.c - scalar and the table. */
#include "pool.h"

static size_t pool_units(const void *args)
{
    const pcx_pool_args *p = args;
    return p->b * p->oh;
}

static void pool_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    pool_run(args, begin, end, pool_channels);
}

static const pcx_impl pool_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, pool_units, pool_avx512, NULL, NULL, NULL, NULL },
    { "avx2", PCX_AVX2, pool_units, pool_avx2, NULL, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, pool_units, pool_neon, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, pool_units, pool_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_pool = {
    "pool", 2,
    "b ih iw ldx c x:f32[b,ih,iw:ldx,c] mode kh kw sh sw dh dw pt pl pb pr oh ow ldo out:f32[b,oh,ow:ldo,c] "
    "where mode<3,kh<1048576,kw<1048576,sh>=1,sw>=1,dh>=1,dw>=1,dh<1048576,dw<1048576,ldx>=c*min(b,min(ih,min(iw,1)))",
    pool_impls,
};
