/* sgemm.c - scalar and the table. */
#include "sgemm.h"

#include "../common/act.h"

sgemm_split sgemm_split_of(size_t m, size_t n, size_t k, size_t most)
{
    enum { UNITS = 32, LEAST = 1 << 17, TOGETHER = 4 }; /* wanted units; least products of one; panels of one */
    sgemm_split s = { 0 };
    const size_t panels = ceil_div(n, SGEMM_NR);
    if (!m || !n || m > SIZE_MAX / 2) /* no array is as large as that */
        return s;
    s.blocks = ceil_div(m, most);
    s.rows = round_up(ceil_div(m, s.blocks), SGEMM_TALL);
    s.blocks = ceil_div(m, s.rows);
    const size_t worth = s.rows * n / LEAST * k + s.rows * n % LEAST * k / LEAST;
    s.groups = max_size(1, min_size(ceil_div(UNITS, s.blocks), worth));
    s.panels = round_up(ceil_div(panels, s.groups), TOGETHER);
    s.groups = ceil_div(panels, s.panels);
    return s;
}

static size_t sgemm_units(const void *args) { return ((const pcx_sgemm_args *)args)->m; }

void sgemm_row(const float *a, size_t k, const sgemm_target *to, const float *residual, float *out)
{
    for (size_t j = 0; j < to->n; j += SGEMM_NR) {
        const float *w = to->w + j / SGEMM_NR * to->ldw;
        const size_t columns = min_size(SGEMM_NR, to->n - j);
        float sum[SGEMM_NR] = { 0 };
        if (to->tail->bias)
            memcpy(sum, to->tail->bias + j, columns * sizeof *sum);
        for (size_t q = 0; q < k; q++)
            for (size_t v = 0; v < SGEMM_NR; v++)
                sum[v] += a[q] * w[q * SGEMM_NR + v];
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
        out[j] = pcx_act(residual ? sum[j] + residual[j] : sum[j], tail->act, tail->act_params);
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, sgemm_units_avx2, sgemm_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, sgemm_units, sgemm_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_sgemm = {
    "sgemm", 1,
    "m lda k a:f32[m:lda,k] n ldw w:f32[ceil(n/16):ldw,k,16] bias?:f32[n] act act_params:f32[2] "
    "ldr residual?:f32[m:ldr,n] ldo out:f32[m:ldo,n] where act<9,m<2147483648,n<2147483648,k<2147483648",
    impls,
};
