/* lowrank.c - scalar and the table. */
#include "lowrank.h"

static size_t lowrank_units(const void *args) { return ((const pcx_lowrank_args *)args)->m; }

static size_t lowrank_scratch(const void *args) { return lowrank_width(args) * sizeof(float); }

static void lowrank_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_lowrank_args *p = args;
    lowrank_factors f;
    lowrank_factors_make(p, &f);
    for (size_t i = begin; i < end; i++) {
        sgemm_row(p->a + i * p->lda, p->k, &f.u, NULL, scratch);
        sgemm_row(scratch, p->r, &f.v, p->tail.residual ? p->tail.residual + i * p->tail.ldr : NULL,
                  p->out + i * p->ldo);
    }
}

#if PCX_X86
PCX_DRIVER(lowrank, rows, sgemm, avx512)
PCX_DRIVER(lowrank, rows, sgemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(lowrank, rows, sgemm, neon)
#endif

static const pcx_impl lowrank_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(lowrank, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(lowrank, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, PCX_DRIVEN(lowrank, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, lowrank_units, lowrank_scalar, lowrank_scratch, NULL, NULL, NULL },
};

const pcx_kernel pcx_lowrank = {
    "lowrank", 1,
    "m lda k a:f32[m:lda,k] r u:f32[ceil(r/16),k,16] mid_bias?:f32[r] mid_act mid_params:f32[2] "
    "n v:f32[ceil(n/16),r,16] bias?:f32[n] act act_params:f32[2] ldr residual?:f32[m:ldr,n] ldo out:f32[m:ldo,n] "
    "where mid_act<9,act<9,m<2147483648,n<2147483648,k<2147483648,r<2147483648",
    lowrank_impls,
};
