/* sgemm.c - scalar and the table. */
#include "sgemm.h"

#include "../runtime/act.h"

static size_t sgemm_units(const void *args) { return ((const pcx_sgemm_args *)args)->m; }

static void sgemm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_sgemm_args *p = args;
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j++) {
            const float *w = p->w + j / SGEMM_NR * p->ldw + j % SGEMM_NR;
            float sum = 0;
            for (size_t q = 0; q < p->k; q++)
                sum += p->a[i * p->lda + q] * w[q * SGEMM_NR];
            if (p->tail.bias)
                sum += p->tail.bias[j];
            if (p->tail.residual)
                sum += p->tail.residual[i * p->tail.ldr + j];
            p->out[i * p->ldo + j] = pcx_act(sum, p->tail.act, p->tail.act_params);
        }
}

static const pcx_impl impls[] = {
    { "scalar", 0, sgemm_units, sgemm_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_sgemm = {
    "sgemm", 1,
    "m lda k a:f32[m:lda,k] n ldw w:f32[ceil(n/16):ldw,k,16] bias?:f32[n] act act_params:f32[2] "
    "ldr residual?:f32[m:ldr,n] ldo out:f32[m:ldo,n] where act<9",
    impls,
};
