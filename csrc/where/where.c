/* where.c - scalar and the table. */
#include "where.h"

static size_t where_units(const void *args)
{
    const walk w = where_walk(args);
    return walk_units(&w);
}

static void where_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    where_run(args, begin, end);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, where_units, where_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, where_units, where_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_where = {
    "where", 1,
    "d0 c0 d1 c1 d2 c2 d3 c3 d4 c4 d5 c5 cond:bool[d0:c0,d1:c1,d2:c2,d3:c3,d4:c4,d5:c5] "
    "a0 a1 a2 a3 a4 a5 a:f32[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:f32[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] "
    "o0 o1 o2 o3 o4 o5 out:f32[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
    impls,
};
