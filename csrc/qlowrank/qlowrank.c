/* qlowrank.c - scalar and the table. */
#include "qlowrank.h"

static size_t qlowrank_units(const void *args)
{
    const pcx_qlowrank_args *p = args;
    return p->n ? ceil_div(p->m, lowrank_block(p->m)) : 0;
}

static size_t qlowrank_scratch(const void *args)
{
    const pcx_qlowrank_args *p = args;
    return max_size(p->r, 1) * sizeof(int16_t);
}

/* The intermediate result of column j, in 16 bits. */
static int16_t qlowrank_middle(const pcx_qlowrank_args *p, const uint8_t *a, size_t j)
{
    const qepilogue_clamp limits = { .low = -QLOWRANK_MOST, .high = QLOWRANK_MOST };
    const int8_t *w = p->w + j / QGEMM_NR * ceil_div(p->k, 4) * QGEMM_STEP + j % QGEMM_NR * 4;
    uint32_t sum = (p->mid_bias ? (uint32_t)p->mid_bias[j] : 0) - (uint32_t)p->azp[0] * (uint32_t)p->colsum[j];
    for (size_t q = 0; q < p->k; q++)
        sum += (uint32_t)(a[q] * w[q / 4 * QGEMM_STEP + q % 4]);
    return (int16_t)qepilogue_round((float)(int32_t)sum * p->mid_scale[j], &limits);
}

static void qlowrank_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qlowrank_args *p = args;
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    const size_t block = lowrank_block(p->m), steps = ceil_div(p->r, 2);
    int16_t *h = scratch;
    for (size_t i = begin * block; i < min_size(end * block, p->m); i++) {
        for (size_t j = 0; j < p->r; j++)
            h[j] = qlowrank_middle(p, p->a + i * p->lda, j);
        for (size_t j = 0; j < p->n; j += QGEMM_NR) {
            const int8_t *v = p->v + j / QGEMM_NR * steps * QLOWRANK_STEP;
            const size_t columns = min_size(QGEMM_NR, p->n - j);
            uint32_t sum[QGEMM_NR] = { 0 };
            for (size_t q = 0; q < p->r; q++)
                for (size_t c = 0; c < QGEMM_NR; c++)
                    sum[c] += (uint32_t)(h[q] * v[q / 2 * QLOWRANK_STEP + c * 2 + q % 2]);
            for (size_t c = 0; p->tail.bias && c < columns; c++)
                sum[c] += (uint32_t)p->tail.bias[j + c];
            qepilogue_any_row(&tail, i, j, columns, (const int32_t *)sum,
                              (uint8_t *)p->out + (i * p->ldo + j) * tail.bytes);
        }
    }
}

#if PCX_X86
PCX_DRIVER(qlowrank, rows, qlowrank, avx512vbmi)
PCX_DRIVER(qlowrank, rows, qlowrank, avx512vnni)
PCX_DRIVER(qlowrank, rows, qlowrank, avxvnni)
PCX_DRIVER(qlowrank, rows, qlowrank, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(qlowrank, rows, qlowrank, i8mm)
PCX_DRIVER(qlowrank, rows, qlowrank, dotprod)
PCX_DRIVER(qlowrank, rows, qlowrank, neon)
#endif

static const pcx_impl qlowrank_impls[] = {
#if PCX_X86
    { "avx512vbmi", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI | PCX_AVX512VBMI, PCX_DRIVEN(qlowrank, avx512vbmi),
      NULL, NULL, NULL },
    { "avx512vnni", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI, PCX_DRIVEN(qlowrank, avx512vnni), NULL, NULL, NULL },
    { "avxvnni", PCX_AVX2 | PCX_AVXVNNI, PCX_DRIVEN(qlowrank, avxvnni), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(qlowrank, avx2), qlowrank_rows_prepared, qlowrank_rows_prepare, NULL },
#endif
#if PCX_ARM64
    { "i8mm", PCX_NEON | PCX_DOTPROD | PCX_I8MM, PCX_DRIVEN(qlowrank, i8mm), NULL, NULL, NULL },
    { "dotprod", PCX_NEON | PCX_DOTPROD, PCX_DRIVEN(qlowrank, dotprod), NULL, NULL, NULL },
    { "neon", PCX_NEON, PCX_DRIVEN(qlowrank, neon), qlowrank_rows_prepared, qlowrank_rows_prepare, NULL },
#endif
    { "scalar", 0, qlowrank_units, qlowrank_scalar, qlowrank_scratch, NULL, NULL, NULL },
};

const pcx_kernel pcx_qlowrank = {
    "qlowrank", 1,
    "m lda k a:u8[m:lda,k] azp:i32[1] r w:i8[ceil(r/16),ceil(k/4),16,4] colsum:i32[r] mid_bias?:i32[r] "
    "mid_scale:f32[r] n v:i8[ceil(n/16),ceil(r/2),16,2] "
    "bias?:i32[n] scale?:f32[n] clamp?:i32[3] lut?:u8[256] add_scale?:f32[2] add_zero?:i32[5] "
    "ldr residual?:u8[m:ldr,n] act act_params:f32[2] prepared:prepared ldo ot out:{u8,i32,f32}ot[m:ldo,n] "
    "where act<9,k<=65536,r<=512",
    qlowrank_impls,
};
