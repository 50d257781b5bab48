/* q4gemm.c - scalar and the table. */
#include "q4gemm.h"

static size_t q4gemm_units(const void *args)
{
    const q4gemm_grid g = q4gemm_split(args, 1);
    return g.blocks * g.panels;
}

static float q4gemm_scale_at(const pcx_q4gemm_args *p, size_t at)
{
    return p->st == PCX_F16 ? (float)half_to_double(((const uint16_t *)p->scale)[at]) : ((const float *)p->scale)[at];
}

/* v: the sums of row i with a panel's columns, in units of the input's scale. */
static void q4gemm_dot(const pcx_q4gemm_args *p, size_t i, size_t panel, float v[Q4_NR])
{
    const uint8_t *a = p->a + i * p->lda, *w = p->w + panel * ceil_div(p->k, 4) * Q4_STEP;
    const size_t groups = p->k ? ceil_div(p->k, p->group) : 0;
    for (size_t c = 0; c < Q4_NR; c++) {
        v[c] = 0;
        for (size_t g = 0; g < groups; g++) {
            const size_t at = (panel * groups + g) * Q4_NR + c, first = g * p->group;
            const size_t last = p->k - first < p->group ? p->k : first + p->group;
            const int32_t zero = p->zero ? p->zero[at] : 8;
            int32_t sum = 0;
            for (size_t q = first; q < last; q++)
                sum += (a[q] - 128) * ((w[q / 4 * Q4_STEP + c % 8 * 4 + q % 4] >> c / 8 * 4 & 15) - zero);
            v[c] += q4gemm_scale_at(p, at) * (float)sum;
        }
    }
}

static void q4gemm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_q4gemm_args *p = args;
    const q4gemm_grid g = q4gemm_split(p, 1);
    const qepilogue tail = qepilogue_make_floats(&p->output, p->ot);
    (void)scratch;
    for (size_t u = begin; u < end; u++) {
        const size_t panel = u % g.panels, j = panel * Q4_NR, cols = min_size(Q4_NR, p->n - j);
        const size_t top = u / g.panels * g.rows, bottom = min_size(top + g.rows, p->m);
        for (size_t i = top; i < bottom; i++) {
            const float zero = (float)(int32_t)((uint32_t)p->azp[i * p->ldz] - 128), scale = p->ascale[i * p->lds];
            float v[Q4_NR];
            q4gemm_dot(p, i, panel, v);
            for (size_t c = 0; c < cols; c++) {
                v[c] = (v[c] - zero * p->colsum[j + c]) * scale;
                v[c] = p->bias ? v[c] + p->bias[j + c] : v[c];
            }
            qepilogue_floats(&tail, i, j, cols, v, (char *)p->out + (i * p->ldo + j) * tail.bytes);
        }
    }
}

#if PCX_X86
/* With fewer rows most of the time goes into unpacking weights. */
static int q4gemm_suits_amx(const void *args) { return ((const pcx_q4gemm_args *)args)->m >= 16; }

PCX_DRIVER(q4gemm, rows, q4gemm, avx512vnni)
PCX_DRIVER(q4gemm, rows, q4gemm, avxvnni)
PCX_DRIVER(q4gemm, rows, q4gemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(q4gemm, rows, q4gemm, i8mm)
PCX_DRIVER(q4gemm, rows, q4gemm, dotprod)
PCX_DRIVER(q4gemm, rows, q4gemm, neon)
#endif

static const pcx_impl q4gemm_impls[] = {
#if PCX_X86
    { "amx", PCX_AVX2 | PCX_AVX512 | PCX_AMXINT8, q4gemm_amx_units, q4gemm_amx, q4gemm_amx_scratch, NULL, NULL,
      q4gemm_suits_amx },
    { "avx512vnni", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI, PCX_DRIVEN(q4gemm, avx512vnni), NULL, NULL, NULL },
    { "avxvnni", PCX_AVX2 | PCX_AVXVNNI, PCX_DRIVEN(q4gemm, avxvnni), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(q4gemm, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "i8mm", PCX_NEON | PCX_DOTPROD | PCX_I8MM, PCX_DRIVEN(q4gemm, i8mm), NULL, NULL, NULL },
    { "dotprod", PCX_NEON | PCX_DOTPROD, PCX_DRIVEN(q4gemm, dotprod), NULL, NULL, NULL },
    { "neon", PCX_NEON, PCX_DRIVEN(q4gemm, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, q4gemm_units, q4gemm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_q4gemm = {
    "q4gemm", 1,
    "m lda k a:u8[m:lda,k] ldz azp:i32[m:ldz] lds ascale:f32[m:lds] n w:u8[ceil(n/16),ceil(k/4),8,4] group st "
    "scale:{f16,f32}st[ceil(n/16),ceil(k/group),16] zero?:u8[ceil(n/16),ceil(k/group),16]<16 colsum:f32[n] "
    "bias?:f32[n] clamp?:i32[3] lut?:u8[256] add_scale?:f32[2] add_zero?:i32[5] ldr residual?:u8[m:ldr,n] act "
    "act_params:f32[2] ldo ot out:{u8,f32}ot[m:ldo,n] where act<9,k<=65536,group%32*max(k-group,0)==0",
    q4gemm_impls,
};
