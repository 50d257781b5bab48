/* dynquant.c - scalar and the table. */
#include "dynquant.h"

static size_t dynquant_units(const void *args)
{
    (void)args;
    return 1;
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
    "dynquant", 1,
    "n x:f32[n] out:u8[n] out_scale:f32[1] out_zero:i32[1]",
    impls,
};
