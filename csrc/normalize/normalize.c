/* normalize.c - scalar and the table. */
#include "normalize.h"

static size_t normalize_units(const void *args)
{
    const pcx_normalize_args *p = args;
    return ceil_div(p->m, normalize_rows(p->c));
}

static void normalize_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    normalize_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, normalize_units, normalize_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, normalize_units, normalize_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_normalize = {
    "normalize", 1,
    "m c x:u8[m,c] scale:f32[c] shift:f32[c] out:f32[m,c]",
    impls,
};
