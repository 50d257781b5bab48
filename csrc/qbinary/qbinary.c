/* qbinary.c - scalar and the table. */
#include "qbinary.h"

static size_t qbinary_units(const void *args)
{
    const walk w = qbinary_walk(args);
    return walk_units(&w);
}

static void qbinary_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qbinary_run(args, begin, end, qbinary_row);
}

static const pcx_impl qbinary_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, qbinary_units, qbinary_avx512, qbinary_avx512_scratch, NULL, NULL, NULL },
    { "avx2", PCX_AVX2, qbinary_units, qbinary_avx2, qbinary_avx2_scratch, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, qbinary_units, qbinary_neon, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, qbinary_units, qbinary_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_qbinary = {
    "qbinary", 1,
    "d0 a0 d1 a1 d2 a2 d3 a3 d4 a4 d5 a5 a:u8[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:u8[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] op zero:i32[5] scale:f32[2] "
    "o0 o1 o2 o3 o4 o5 out:u8[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5] where op<2",
    qbinary_impls,
};
