/* bconv.c - scalar and the table. */
#include "bconv.h"

#include "../common/half.h"

static size_t bconv_units(const void *args)
{
    const pcx_bconv_args *p = args;
    return p->n ? p->b * p->oh * p->ow : 0;
}

/* sum += the products of output pixel i with one panel. */
static void bconv_pixel(const pcx_bconv_args *p, size_t i, const uint16_t *w, float *sum)
{
    const size_t line = i / p->ow, top = line % p->oh * p->sh - p->pt, left = i % p->ow * p->sw - p->pl;
    float total[SGEMM_NR] = { 0 };
    size_t done = 0;
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t iy = top + ky * p->dh, ix = left + kx * p->dw;
            if (iy >= p->ih || ix >= p->iw)
                continue;
            const float *x = p->x + ((line / p->oh * p->ih + iy) * p->iw + ix) * p->ldx;
            for (size_t c = 0, q = (ky * p->kw + kx) * p->c; c < p->c; c++, q++, done++) {
                const float a = half_bf16_rounded(x[c]);
                if (done && done % SGEMM_DEEP == 0)
                    sgemm_deposit(sum, total);
                for (size_t v = 0; v < SGEMM_NR; v++)
                    sum[v] += a * half_bf16_to_float(w[q / 2 * BGEMM_PAIRS + 2 * v + q % 2]);
            }
        }
    if (done > SGEMM_DEEP)
        sgemm_deposit(total, sum);
}

static void bconv_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_bconv_args *p = args;
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j += SGEMM_NR) {
            const size_t columns = min_size(SGEMM_NR, p->n - j);
            float sum[SGEMM_NR] = { 0 };
            if (p->tail.bias)
                memcpy(sum, p->tail.bias + j, columns * sizeof *sum);
            if (p->c)
                bconv_pixel(p, i, p->w + j / SGEMM_NR * p->ldw, sum);
            sgemm_finish(&p->tail, sum, p->tail.residual ? p->tail.residual + i * p->tail.ldr + j : NULL,
                         p->out + i * p->ldo + j, columns);
        }
}

#if PCX_X86
/* A product of tiles takes as long for seven rows as for ten. */
static int bconv_suits_amx(const void *args)
{
    const pcx_bconv_args *p = args;
    return p->b * p->oh * p->ow >= 8;
}

PCX_DRIVER(bconv, rows, bgemm, amx)
PCX_DRIVER(bconv, rows, bgemm, avx512bf16)
PCX_DRIVER(bconv, rows, bgemm, avx512)
PCX_DRIVER(bconv, rows, bgemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(bconv, rows, bgemm, bf16)
PCX_DRIVER(bconv, rows, bgemm, neon)
#endif

static const pcx_impl bconv_impls[] = {
#if PCX_X86
    { "amx", PCX_AVX2 | PCX_AVX512 | PCX_AVX512BF16 | PCX_AMXBF16, PCX_DRIVEN(bconv, amx), NULL, NULL,
      bconv_suits_amx },
    { "avx512bf16", PCX_AVX2 | PCX_AVX512 | PCX_AVX512BF16, PCX_DRIVEN(bconv, avx512bf16), NULL, NULL, NULL },
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(bconv, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(bconv, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "bf16", PCX_NEON | PCX_ARMBF16, PCX_DRIVEN(bconv, bf16), NULL, NULL, NULL },
    { "neon", PCX_NEON, PCX_DRIVEN(bconv, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, bconv_units, bconv_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_bconv = {
    "bconv", 1,
    "b ih iw ldx c x:f32[b,ih,iw:ldx,c] n ldw w:bf16[ceil(n/16):ldw,ceil(kh*kw*c/2),16,2] kh kw sh sw dh dw pt pl oh "
    "ow bias?:f32[n] act act_params:f32[2] ldr residual?:f32[b*oh*ow:ldr,n] ldo out:f32[b,oh,ow:ldo,n] "
    "where act<9,n<2147483648,c<2147483648,kh>=1,kw>=1,sh>=1,sw>=1,dh>=1,dw>=1,b<2147483648,ih<2147483648,"
    "iw<2147483648,oh<2147483648,ow<2147483648,kh<2147483648,kw<2147483648,sh<2147483648,sw<2147483648,"
    "dh<2147483648,dw<2147483648,pt<2147483648,pl<2147483648",
    bconv_impls,
};
