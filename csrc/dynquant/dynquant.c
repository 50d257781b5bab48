/* dynquant.c - scalar and the table. */
#include "dynquant.h"

static size_t dynquant_units(const void *args)
{
    return ((const pcx_dynquant_args *)args)->m;
}

static void dynquant_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    dynquant_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, dynquant_units, dynquant_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, dynquant_units, dynquant_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_dynquant = {
    "dynquant", 2,
    "m ldx k x:f32[m:ldx,k] ldo out:u8[m:ldo,k] out_scale:f32[m] out_zero:i32[m]",
    impls,
};
