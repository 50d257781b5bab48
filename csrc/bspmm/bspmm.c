/* bspmm.c - scalar and the table. */
#include "bspmm.h"

static size_t bspmm_units(const void *args) { return ((const pcx_bspmm_args *)args)->m; }

static void bspmm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_bspmm_args *p = args;
    const pcx_epilogue *tail = &p->tail;
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j += SGEMM_NR) {
            const int32_t *rows = p->rows + j / SGEMM_NR;
            const size_t columns = min_size(SGEMM_NR, p->n - j);
            float sum[SGEMM_NR] = { 0 };
            if (tail->bias)
                memcpy(sum, tail->bias + j, columns * sizeof *sum);
            for (int32_t b = rows[0]; b < rows[1]; b++)
                for (size_t v = 0; v < SGEMM_NR; v++)
                    sum[v] += p->a[i * p->lda + p->index[b]] * p->w[(size_t)b * SGEMM_NR + v];
            sgemm_finish(tail, sum, tail->residual ? tail->residual + i * tail->ldr + j : NULL, p->out + i * p->ldo + j,
                         columns);
        }
}

#if PCX_X86
PCX_DRIVER(bspmm, rows, bspmm, avx512)
PCX_DRIVER(bspmm, rows, bspmm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(bspmm, rows, bspmm, neon)
#endif

static const pcx_impl bspmm_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(bspmm, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(bspmm, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, PCX_DRIVEN(bspmm, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, bspmm_units, bspmm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_bspmm = {
    "bspmm", 1,
    "m lda k a:f32[m:lda,k] n blocks rows:i32[ceil(n/16)+1]<blocks+1 index:u16[blocks]<k w:f32[blocks,16] bias?:f32[n] "
    "act act_params:f32[2] ldr residual?:f32[m:ldr,n] ldo out:f32[m:ldo,n] "
    "where act<9,m<2147483648,n<2147483648,k<=65536,blocks<2147483648",
    bspmm_impls,
};
