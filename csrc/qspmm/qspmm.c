/* qspmm.c - scalar and the table. */
#include "qspmm.h"

enum { QSPMM_LANES = 8, QSPMM_VECTORS = 6 }; /* pixels of a panel, only to make units */

static size_t qspmm_units(const void *args)
{
    const qspmm_grid g = qspmm_split(args, QSPMM_LANES, 1, QSPMM_VECTORS);
    return g.panels * g.groups;
}

/* The sum of output j for the pixel `a`; unsigned, since sums wrap. */
static uint32_t qspmm_dot(const pcx_qspmm_args *p, const uint8_t *a, size_t j)
{
    uint32_t sum = 0;
    for (int32_t b = p->rows[j]; b < p->rows[j + 1]; b++) {
        const size_t q = (size_t)p->index[b] * 4, count = min_size(4, p->k - q);
        for (size_t x = 0; x < count; x++)
            sum += (uint32_t)(a[q + x] * p->w[(size_t)b * 4 + x]);
    }
    return sum;
}

static void qspmm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qspmm_args *p = args;
    const qspmm_grid g = qspmm_split(p, QSPMM_LANES, 1, QSPMM_VECTORS);
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    (void)scratch;
    for (size_t u = begin; u < end; u++) {
        const size_t panel = u / g.groups, j = u % g.groups * QSP_NR, cols = min_size(QSP_NR, p->n - j);
        const size_t top = qspmm_first(&g, panel) * QSPMM_LANES;
        const size_t bottom = min_size(qspmm_first(&g, panel + 1) * QSPMM_LANES, p->m);
        for (size_t i = top; i < bottom; i++) {
            uint32_t sum[QSP_NR];
            const uint32_t za = (uint32_t)p->azp[i * p->ldz];
            for (size_t c = 0; c < cols; c++) {
                sum[c] = qspmm_dot(p, p->a + i * p->lda, j + c) - za * (uint32_t)p->colsum[j + c];
                sum[c] += p->tail.bias ? (uint32_t)p->tail.bias[j + c] : 0;
            }
            qepilogue_any_row(&tail, i, j, cols, (const int32_t *)sum, (uint8_t *)p->out + (i * p->ldo + j) * tail.bytes);
        }
    }
}

#if PCX_X86
PCX_DRIVER(qspmm, panels, qspmm, avx512vbmi)
PCX_DRIVER(qspmm, panels, qspmm, avx512vnni)
PCX_DRIVER(qspmm, panels, qspmm, avxvnni)
PCX_DRIVER(qspmm, panels, qspmm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(qspmm, panels, qspmm, dotprod)
PCX_DRIVER(qspmm, panels, qspmm, neon)
#endif

static const pcx_impl qspmm_impls[] = {
#if PCX_X86
    { "avx512vbmi", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI | PCX_AVX512VBMI, PCX_DRIVEN(qspmm, avx512vbmi),
      NULL, NULL, NULL },
    { "avx512vnni", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI, PCX_DRIVEN(qspmm, avx512vnni), NULL, NULL, NULL },
    { "avxvnni", PCX_AVX2 | PCX_AVXVNNI, PCX_DRIVEN(qspmm, avxvnni), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(qspmm, avx2), qspmm_panels_prepared, qspmm_panels_prepare, NULL },
#endif
#if PCX_ARM64
    { "dotprod", PCX_NEON | PCX_DOTPROD, PCX_DRIVEN(qspmm, dotprod), NULL, NULL, NULL },
    { "neon", PCX_NEON, PCX_DRIVEN(qspmm, neon), qspmm_neon_prepared, qspmm_neon_prepare, NULL },
#endif
    { "scalar", 0, qspmm_units, qspmm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_qspmm = {
    "qspmm", 1,
    "m lda k a:u8[m:lda,k] ldz azp:i32[m:ldz] n blocks rows:i32[n+1]<blocks+1 index:u16[blocks]<ceil(k/4) "
    "w:i8[blocks,4] colsum:i32[n] "
    "bias?:i32[n] scale?:f32[n] clamp?:i32[3] lut?:u8[256] add_scale?:f32[2] add_zero?:i32[5] "
    "ldr residual?:u8[m:ldr,n] act act_params:f32[2] prepared:prepared ldo ot out:{u8,i32,f32}ot[m:ldo,n] "
    "where act<9,k<=65536",
    qspmm_impls,
};
