/* reduce.c - scalar and the table. */
#include "reduce.h"

static size_t reduce_units(const void *args)
{
    const pcx_reduce_args *p = args;
    return p->outer * ceil_div(p->inner, REDUCE_LANES);
}

static void reduce_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    reduce_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, reduce_units, reduce_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, reduce_units, reduce_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_reduce = {
    "reduce", 1,
    "outer r inner x:f32[outer,r,inner] mode out:f32[outer,inner] where mode<10",
    impls,
};
