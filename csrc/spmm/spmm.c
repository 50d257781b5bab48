/* spmm.c - scalar and the table. */
#include "spmm.h"

#include "../common/act.h"

spmm_split spmm_split_of(size_t m, size_t n, size_t nnz)
{
    enum { UNITS = 32, MIN = 1 << 16 }; /* wanted units; min. products of one */
    spmm_split s = { 0 };
    if (!m || !n)
        return s;
    s.vectors = ceil_div(m, SPMM_LANES);
    s.panels = ceil_div(s.vectors, SPMM_VECTORS);
    const size_t pixels = ceil_div(s.vectors, s.panels) * SPMM_LANES;
    const size_t worth = max_size(1, nnz / MIN * pixels + nnz % MIN * pixels / MIN);
    const size_t groups = min_size(ceil_div(UNITS, s.panels), worth);
    s.rows = round_up(ceil_div(n, groups), SPMM_LANES * 2);
    s.groups = ceil_div(n, s.rows);
    return s;
}

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

static const pcx_impl spmm_impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, spmm_units_avx2, spmm_avx2, spmm_scratch_avx2, NULL, NULL, NULL },
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
