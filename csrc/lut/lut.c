/* lut.c - scalar, one load per element, and the table. */
#include "lut.h"

static size_t lut_units(const void *args)
{
    const walk w = lut_walk(args);
    return walk_units(&w);
}

static void lut_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    lut_run(args, begin, end, lut_row, lut_columns);
}

static const pcx_impl lut_impls[] = {
#if PCX_X86
    { "avx512vbmi", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VBMI, lut_units, lut_avx512vbmi, NULL, NULL, NULL, NULL },
    { "avx512", PCX_AVX2 | PCX_AVX512, lut_units, lut_avx512, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, lut_units, lut_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_lut = {
    "lut", 1,
    "m ldx n x:u8[m:ldx,n] tables table:u8[tables,256] ldo out:u8[m:ldo,n] where tables>=1",
    lut_impls,
};
