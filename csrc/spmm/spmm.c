/* spmm.c - scalar and the table. */
#include "spmm.h"

#include "../common/act.h"

static size_t spmm_units(const void *args) { return ((const pcx_spmm_args *)args)->m; }

static void spmm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_spmm_args *p = args;
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j++) {
            const float *a = p->a + i * p->lda;
            float sum = p->tail.bias ? p->tail.bias[j] : 0;
            for (size_t s = 0; s < p->slices; s++) {
                const int32_t *row = p->rows + s * (p->n + 1) + j;
                for (int32_t q = row[0]; q < row[1]; q++)
                    sum += a[p->index[q] * p->ldk] * p->w[q];
            }
            if (p->tail.residual)
                sum += p->tail.residual[i * p->tail.ldr + j * p->lds];
            p->out[i * p->ldo + j * p->ldc] = act_apply(sum, p->tail.act, p->tail.act_params);
        }
}

#if PCX_X86
PCX_DRIVER(spmm, panels, spmm, avx512)
PCX_DRIVER(spmm, panels, spmm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(spmm, panels, spmm, neon)
#endif

static const pcx_impl spmm_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(spmm, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(spmm, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, PCX_DRIVEN(spmm, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, spmm_units, spmm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_spmm = {
    "spmm", 3,
    "m lda k ldk a:f32[m:lda,k:ldk] slices n nnz rows:i32[slices,n+1]<nnz+1 index:u16[nnz]<k w:f32[nnz] lds bias?:f32[n] act "
    "act_params:f32[2] ldr residual?:f32[m:ldr,n:lds] ldo ldc out:f32[m:ldo,n:ldc] "
    "where act<9,m<2147483648,n<2147483648,k<=65536",
    spmm_impls,
};
