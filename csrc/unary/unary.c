/* unary.c - scalar and the table. */
#include "unary.h"

static size_t unary_units(const void *args)
{
    const walk w = unary_walk(args);
    return walk_units(&w);
}

static void unary_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    unary_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, unary_units, unary_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, unary_units, unary_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_unary = {
    "unary", 1,
    "m ldx n x:f32[m:ldx,n] op params:f32[2] ldo out:f32[m:ldo,n] where op<32",
    impls,
};
