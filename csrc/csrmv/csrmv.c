/* csrmv.c - scalar and the table. */
#include "csrmv.h"

static float csrmv_sum_of_row(const pcx_csrmv_args *p, size_t begin, size_t end)
{
    enum { SUMS = 4 }; /* one would wait for each addition */
    float sum[SUMS] = { 0 };
    size_t i = begin;
    for (; i + SUMS <= end; i += SUMS)
        for (size_t q = 0; q < SUMS; q++)
            sum[q] += p->w[i + q] * p->x[p->index[i + q]];
    for (; i < end; i++)
        sum[0] += p->w[i] * p->x[p->index[i]];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void csrmv_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    csrmv_walk(args, begin, end, csrmv_sum_of_row);
}

static const pcx_impl csrmv_impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, csrmv_units, csrmv_avx2, NULL, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, csrmv_units, csrmv_neon, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, csrmv_units, csrmv_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_csrmv = {
    "csrmv", 2,
    "k x:f32[k] n nnz rows:i32[n+1]<nnz+1 index:u16[nnz]<k w:f32[nnz] bias?:f32[n] act act_params:f32[2] "
    "ldr residual?:f32[n] out:f32[n] where act<9,n<2147483648,k<=65536,nnz<2147483648",
    csrmv_impls,
};
