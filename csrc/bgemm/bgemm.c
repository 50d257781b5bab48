/* bgemm.c - scalar and the table. */
#include "bgemm.h"

#include "../common/half.h"

static size_t bgemm_units(const void *args) { return ((const pcx_bgemm_args *)args)->m; }

static void bgemm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_bgemm_args *p = args;
    const pcx_epilogue *tail = &p->tail;
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j += SGEMM_NR) {
            const uint16_t *w = p->w + j / SGEMM_NR * p->ldw;
            const size_t columns = min_size(SGEMM_NR, p->n - j);
            float sum[SGEMM_NR] = { 0 }, total[SGEMM_NR] = { 0 };
            if (tail->bias)
                memcpy(sum, tail->bias + j, columns * sizeof *sum);
            for (size_t q = 0; q < p->k; q++) {
                const float a = half_bf16_rounded(p->a[i * p->lda + q]);
                if (q && q % SGEMM_DEEP == 0)
                    sgemm_deposit(sum, total);
                for (size_t v = 0; v < SGEMM_NR; v++)
                    sum[v] += a * half_bf16_to_float(w[q / 2 * BGEMM_PAIRS + 2 * v + q % 2]);
            }
            if (p->k > SGEMM_DEEP)
                sgemm_deposit(total, sum);
            sgemm_finish(tail, sum, tail->residual ? tail->residual + i * tail->ldr + j : NULL, p->out + i * p->ldo + j,
                         columns);
        }
}

#if PCX_X86
/* A product of tiles takes as long for seven rows as for ten. */
static int bgemm_suits_amx(const void *args)
{
    const pcx_bgemm_args *p = args;
    return p->m >= 8;
}

PCX_DRIVER(bgemm, rows, bgemm, amx)
PCX_DRIVER(bgemm, rows, bgemm, avx512bf16)
PCX_DRIVER(bgemm, rows, bgemm, avx512)
PCX_DRIVER(bgemm, rows, bgemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(bgemm, rows, bgemm, bf16)
PCX_DRIVER(bgemm, rows, bgemm, neon)
#endif

static const pcx_impl bgemm_impls[] = {
#if PCX_X86
    { "amx", PCX_AVX2 | PCX_AVX512 | PCX_AVX512BF16 | PCX_AMXBF16, PCX_DRIVEN(bgemm, amx), NULL, NULL,
      bgemm_suits_amx },
    { "avx512bf16", PCX_AVX2 | PCX_AVX512 | PCX_AVX512BF16, PCX_DRIVEN(bgemm, avx512bf16), NULL, NULL, NULL },
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(bgemm, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(bgemm, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "bf16", PCX_NEON | PCX_ARMBF16, PCX_DRIVEN(bgemm, bf16), NULL, NULL, NULL },
    { "neon", PCX_NEON, PCX_DRIVEN(bgemm, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, bgemm_units, bgemm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_bgemm = {
    "bgemm", 1,
    "m lda k a:f32[m:lda,k] n ldw w:bf16[ceil(n/16):ldw,ceil(k/2),16,2] bias?:f32[n] act act_params:f32[2] "
    "ldr residual?:f32[m:ldr,n] ldo out:f32[m:ldo,n] where act<9,m<2147483648,n<2147483648,k<2147483648",
    bgemm_impls,
};
