/* qgemm.c - scalar and the table. */
#include "qgemm.h"

static size_t qgemm_units(const void *args)
{
    const qgemm_grid g = qgemm_split(args, 1, 1, QGEMM_NEAR);
    return g.blocks * g.panels;
}

/* Sums of row i with the 16 columns of panel j; unsigned, since sums wrap. */
static void qgemm_dot(const pcx_qgemm_args *p, size_t i, size_t panel, uint32_t sum[QGEMM_NR], uint32_t *row_sum)
{
    const uint8_t *a = p->a + i * p->lda;
    const int8_t *w = p->w + panel * ceil_div(p->k, 4) * QGEMM_STEP;
    memset(sum, 0, QGEMM_NR * sizeof *sum);
    *row_sum = 0;
    for (size_t q = 0; q < p->k; q++) {
        *row_sum += a[q];
        for (size_t c = 0; c < QGEMM_NR; c++)
            sum[c] += (uint32_t)(a[q] * w[q / 4 * QGEMM_STEP + c * 4 + q % 4]);
    }
}

static void qgemm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qgemm_args *p = args;
    const qgemm_grid g = qgemm_split(p, 1, 1, QGEMM_NEAR);
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    (void)scratch;
    for (size_t u = begin; u < end; u++) {
        const size_t panel = u % g.panels, j = panel * QGEMM_NR, cols = min_size(QGEMM_NR, p->n - j);
        const size_t top = u / g.panels * g.rows, bottom = min_size(top + g.rows, p->m);
        for (size_t i = top; i < bottom; i++) {
            uint32_t sum[QGEMM_NR], row_sum;
            const uint32_t za = (uint32_t)p->azp[i * p->ldz];
            qgemm_dot(p, i, panel, sum, &row_sum);
            for (size_t c = 0; c < cols; c++) { /* (a - za)(w - zw), multiplied out */
                const uint32_t zw = p->wzp ? (uint32_t)p->wzp[j + c] : 0;
                sum[c] += (uint32_t)p->k * za * zw - za * (uint32_t)p->colsum[j + c] - zw * row_sum;
                sum[c] += p->tail.bias ? (uint32_t)p->tail.bias[j + c] : 0;
            }
            qepilogue_any_row(&tail, i, j, cols, (const int32_t *)sum, (uint8_t *)p->out + (i * p->ldo + j) * tail.bytes);
        }
    }
}

#if PCX_X86
/* A product of tiles takes as long for seven rows as for ten; per row zero points and those of weights cost it more. */
static int qgemm_suits_amx(const void *args)
{
    const pcx_qgemm_args *p = args;
    return p->m >= 8 && p->k >= 16 && !p->ldz && !p->wzp;
}

PCX_DRIVER(qgemm, rows, qgemm, amx)
PCX_DRIVER(qgemm, rows, qgemm, avx512vbmi)
PCX_DRIVER(qgemm, rows, qgemm, avx512vnni)
PCX_DRIVER(qgemm, rows, qgemm, avxvnni)
PCX_DRIVER(qgemm, rows, qgemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(qgemm, rows, qgemm, i8mm)
PCX_DRIVER(qgemm, rows, qgemm, dotprod)
PCX_DRIVER(qgemm, rows, qgemm, neon)
#endif

static const pcx_impl qgemm_impls[] = {
#if PCX_X86
    { "amx", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI | PCX_AVX512VBMI | PCX_AMXINT8, PCX_DRIVEN(qgemm, amx),
      NULL, NULL, qgemm_suits_amx },
    { "avx512vbmi", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI | PCX_AVX512VBMI, PCX_DRIVEN(qgemm, avx512vbmi),
      NULL, NULL, NULL },
    { "avx512vnni", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI, PCX_DRIVEN(qgemm, avx512vnni), NULL, NULL, NULL },
    { "avxvnni", PCX_AVX2 | PCX_AVXVNNI, PCX_DRIVEN(qgemm, avxvnni), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(qgemm, avx2), qgemm_rows_prepared, qgemm_rows_prepare, NULL },
#endif
#if PCX_ARM64
    { "i8mm", PCX_NEON | PCX_DOTPROD | PCX_I8MM, PCX_DRIVEN(qgemm, i8mm), qgemm_i8mm_prepared,
      qgemm_i8mm_prepare, NULL },
    { "dotprod", PCX_NEON | PCX_DOTPROD, PCX_DRIVEN(qgemm, dotprod), NULL, NULL, NULL },
    { "neon", PCX_NEON, PCX_DRIVEN(qgemm, neon), qgemm_rows_prepared, qgemm_rows_prepare, NULL },
#endif
    { "scalar", 0, qgemm_units, qgemm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_qgemm = {
    "qgemm", 1,
    "m lda k a:u8[m:lda,k] ldz azp:i32[m:ldz] n w:i8[ceil(n/16),ceil(k/4),16,4] colsum:i32[n] wzp?:i32[n] "
    "bias?:i32[n] scale?:f32[n] clamp?:i32[3] lut?:u8[256] add_scale?:f32[2] add_zero?:i32[5] "
    "ldr residual?:u8[m:ldr,n] act act_params:f32[2] prepared:prepared ldo ot out:{u8,i32,f32}ot[m:ldo,n] "
    "where act<9,k<=65536",
    qgemm_impls,
};
