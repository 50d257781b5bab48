/* softmax.c - scalar and the table. */
#include "softmax.h"

static size_t softmax_units(const void *args)
{
    const pcx_softmax_args *p = args;
    return p->outer * ceil_div(p->inner, SOFTMAX_LANES);
}

static void softmax_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    softmax_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, softmax_units, softmax_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, softmax_units, softmax_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_softmax = {
    "softmax", 1,
    "outer r inner x:f32[outer,r,inner] log out:f32[outer,r,inner]",
    impls,
};
