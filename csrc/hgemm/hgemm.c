/* hgemm.c - scalar and the table. */
#include "hgemm.h"

#include "../common/half.h"

static size_t hgemm_units(const void *args) { return ((const pcx_hgemm_args *)args)->m; }

static void hgemm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_hgemm_args *p = args;
    const pcx_epilogue *tail = &p->tail;
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j += SGEMM_NR) {
            const uint16_t *w = (const uint16_t *)p->w + j / SGEMM_NR * p->ldw;
            const size_t columns = min_size(SGEMM_NR, p->n - j);
            float sum[SGEMM_NR] = { 0 }, total[SGEMM_NR] = { 0 };
            if (tail->bias)
                memcpy(sum, tail->bias + j, columns * sizeof *sum);
            for (size_t q = 0; q < p->k; q++, w += SGEMM_NR) {
                if (q && q % SGEMM_DEEP == 0)
                    sgemm_deposit(sum, total);
                for (size_t v = 0; v < SGEMM_NR; v++)
                    sum[v] += p->a[i * p->lda + q] *
                              (p->wt == PCX_BF16 ? half_bf16_to_float(w[v]) : (float)half_to_double(w[v]));
            }
            if (p->k > SGEMM_DEEP)
                sgemm_deposit(total, sum);
            sgemm_finish(tail, sum, tail->residual ? tail->residual + i * tail->ldr + j : NULL, p->out + i * p->ldo + j,
                         columns);
        }
}

#if PCX_X86
PCX_DRIVER(hgemm, rows, hgemm, avx512)
PCX_DRIVER(hgemm, rows, hgemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(hgemm, rows, hgemm, neon)
#endif

static const pcx_impl hgemm_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(hgemm, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(hgemm, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, PCX_DRIVEN(hgemm, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, hgemm_units, hgemm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_hgemm = {
    "hgemm", 1,
    "m lda k a:f32[m:lda,k] n ldw wt w:{f16,bf16}wt[ceil(n/16):ldw,k,16] bias?:f32[n] act act_params:f32[2] "
    "ldr residual?:f32[m:ldr,n] ldo out:f32[m:ldo,n] where act<9,m<2147483648,n<2147483648,k<2147483648",
    hgemm_impls,
};
