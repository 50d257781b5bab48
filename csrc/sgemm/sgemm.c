/* sgemm.c - scalar and the table. */
#include "sgemm.h"

#include "../common/act.h"

static size_t sgemm_units(const void *args) { return ((const pcx_sgemm_args *)args)->m; }

void sgemm_row(const float *a, size_t k, const sgemm_target *to, const float *residual, float *out)
{
    for (size_t j = 0; j < to->n; j += SGEMM_NR) {
        const float *w = to->w + j / SGEMM_NR * to->ldw;
        const size_t columns = min_size(SGEMM_NR, to->n - j);
        float sum[SGEMM_NR] = { 0 }, total[SGEMM_NR] = { 0 };
        if (to->tail->bias)
            memcpy(sum, to->tail->bias + j, columns * sizeof *sum);
        for (size_t q = 0; q < k; q++) {
            if (q && q % SGEMM_DEEP == 0)
                sgemm_deposit(sum, total);
            for (size_t v = 0; v < SGEMM_NR; v++)
                sum[v] += a[q] * w[q * SGEMM_NR + v];
        }
        if (k > SGEMM_DEEP)
            sgemm_deposit(total, sum);
        sgemm_finish(to->tail, sum, residual ? residual + j : NULL, out + j, columns);
    }
}

static void sgemm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_sgemm_args *p = args;
    const sgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        sgemm_row(p->a + i * p->lda, p->k, &to, p->tail.residual ? p->tail.residual + i * p->tail.ldr : NULL,
                  p->out + i * p->ldo);
}

void sgemm_finish(const pcx_epilogue *tail, const float *sum, const float *residual, float *out, size_t columns)
{
    for (size_t j = 0; j < columns; j++)
        out[j] = act_apply(residual ? sum[j] + residual[j] : sum[j], tail->act, tail->act_params);
}

#if PCX_X86
PCX_DRIVER(sgemm, rows, sgemm, avx512)
PCX_DRIVER(sgemm, rows, sgemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(sgemm, rows, sgemm, neon)
#endif

static const pcx_impl sgemm_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(sgemm, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(sgemm, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, PCX_DRIVEN(sgemm, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, sgemm_units, sgemm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_sgemm = {
    "sgemm", 1,
    "m lda k a:f32[m:lda,k] n ldw w:f32[ceil(n/16):ldw,k,16] bias?:f32[n] act act_params:f32[2] "
    "ldr residual?:f32[m:ldr,n] ldo out:f32[m:ldo,n] where act<9,m<2147483648,n<2147483648,k<2147483648",
    sgemm_impls,
};
