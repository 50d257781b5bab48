/* resample.c - scalar and the table. */
#include "resample.h"

static size_t resample_units(const void *args)
{
    const pcx_resample_args *p = args;
    return p->outer * ceil_div(p->m, RESAMPLE_ROWS);
}

static void resample_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    resample_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, resample_units, resample_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, resample_units, resample_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_resample = {
    "resample", 1,
    "outer r inner x:f32[outer,r,inner] m taps index:i32[m,taps]<r weight:f32[m,taps] out:f32[outer,m,inner]",
    impls,
};
