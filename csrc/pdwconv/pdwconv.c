/* pdwconv.c - scalar and the table. */
#include "pdwconv.h"

static size_t pdwconv_units(const void *args)
{
    const pcx_pdwconv_args *p = args;
    return p->oh && p->ow ? p->c : 0;
}

static void pdwconv_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    pdwconv_plain(args, begin, end);
}

static const pcx_impl pdwconv_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, pdwconv_units, pdwconv_avx512_run, pdwconv_avx512_scratch, NULL, NULL, NULL },
    { "avx2", PCX_AVX2, pdwconv_units, pdwconv_avx2_run, pdwconv_avx2_scratch, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, pdwconv_units, pdwconv_neon_run, pdwconv_neon_scratch, NULL, NULL, NULL },
#endif
    { "scalar", 0, pdwconv_units, pdwconv_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_pdwconv = {
    "pdwconv", 1,
    "c ldx ih iw x:f32[c:ldx,ih,iw] w:f32[c,kh*kw] kh kw sh sw pt pl bias?:f32[c] act act_params:f32[2] ldo oh ow "
    "out:f32[c:ldo,oh,ow] where act<9,kh>=1,kw>=1,sh>=1,sw>=1,c<2147483648,ih<2147483648,iw<2147483648,oh<2147483648,"
    "ow<2147483648,kh<2147483648,kw<2147483648,sh<2147483648,sw<2147483648,pt<2147483648,pl<2147483648",
    pdwconv_impls,
};
