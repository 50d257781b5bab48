/* qpool.c - scalar and the table. */
#include "qpool.h"

static size_t qpool_units(const void *args)
{
    const pcx_qpool_args *p = args;
    return p->b * p->oh;
}

static void qpool_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qpool_run(args, begin, end, qpool_channels);
}

static const pcx_impl qpool_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, qpool_units, qpool_avx512, NULL, NULL, NULL, NULL },
    { "avx2", PCX_AVX2, qpool_units, qpool_avx2, NULL, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, qpool_units, qpool_neon, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, qpool_units, qpool_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_qpool = {
    "qpool", 1,
    "b ih iw ldx c x:u8[b,ih,iw:ldx,c] mode kh kw sh sw dh dw pt pl pb pr xzp:i32[1] scale:f32[1] clamp:i32[3] oh ow ldo "
    "out:u8[b,oh,ow:ldo,c] "
    "where mode<3,kh<1048576,kw<1048576,sh>=1,sw>=1,dh>=1,dw>=1,dh<1048576,dw<1048576,ldx>=c*min(b,min(ih,min(iw,1)))",
    qpool_impls,
};
