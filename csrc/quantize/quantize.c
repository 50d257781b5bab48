/* quantize.c - scalar and the table. */
#include "quantize.h"

static size_t quantize_units(const void *args)
{
    const pcx_quantize_args *p = args;
    const quantize_rows s = quantize_split(p->outer, p->c, p->inner);
    return ceil_div(s.rows, s.per_unit);
}

static void quantize_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    quantize_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, quantize_units, quantize_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, quantize_units, quantize_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_quantize = {
    "quantize", 1,
    "outer c inner x:f32[outer,c,inner] scale:f32[c] zero:i32[c] clamp:i32[2] ot "
    "out:{u8,i8,i16,u16,i32}ot[outer,c,inner]",
    impls,
};
