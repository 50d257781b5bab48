/* dequantize.c - scalar and the table. */
#include "dequantize.h"

static size_t dequantize_units(const void *args)
{
    const pcx_dequantize_args *p = args;
    const dequantize_rows s = dequantize_split(p->outer, p->c, p->inner);
    return ceil_div(s.rows, s.per_unit);
}

static void dequantize_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    dequantize_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, dequantize_units, dequantize_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, dequantize_units, dequantize_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_dequantize = {
    "dequantize", 1,
    "outer c inner xt x:{u8,i8,i16,u16,i32}xt[outer,c,inner] zero:i32[c] scale:f32[c] out:f32[outer,c,inner]",
    impls,
};
