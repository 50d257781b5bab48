/* lrn.c - scalar and the table. */
#include "lrn.h"

static size_t lrn_units(const void *args)
{
    const pcx_lrn_args *p = args;
    return p->m;
}

static void lrn_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    lrn_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, lrn_units, lrn_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, lrn_units, lrn_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_lrn = {
    "lrn", 1,
    "m c x:f32[m,c] size params:f32[3] out:f32[m,c] where size>=1",
    impls,
};
