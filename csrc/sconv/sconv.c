/* sconv.c - scalar and the table. */
#include "sconv.h"

static size_t sconv_units(const void *args)
{
    const pcx_sconv_args *p = args;
    return p->n ? p->b * p->oh * p->ow : 0;
}

/* sum += the products of one output pixel with one panel. */
static void sconv_pixel(const pcx_sconv_args *p, sconv_place at, const float *w, float *sum)
{
    float total[SGEMM_NR] = { 0 };
    size_t done = 0;
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t iy = at.y + ky * p->dh, ix = at.x + kx * p->dw; /* beyond the top or left: huge */
            if (iy >= p->ih || ix >= p->iw)
                continue;
            const float *x = p->x + ((at.image * p->ih + iy) * p->iw + ix) * p->ldx;
            const float *wk = w + (ky * p->kw + kx) * p->c * SGEMM_NR;
            for (size_t q = 0; q < p->c; q++, done++) {
                if (done && done % SGEMM_DEEP == 0)
                    sgemm_deposit(sum, total);
                for (size_t v = 0; v < SGEMM_NR; v++)
                    sum[v] += x[q] * wk[q * SGEMM_NR + v];
            }
        }
    if (done > SGEMM_DEEP)
        sgemm_deposit(total, sum);
}

static void sconv_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_sconv_args *p = args;
    (void)scratch;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j += SGEMM_NR) {
            const size_t columns = min_size(SGEMM_NR, p->n - j);
            float sum[SGEMM_NR] = { 0 };
            if (p->tail.bias)
                memcpy(sum, p->tail.bias + j, columns * sizeof *sum);
            if (p->c)
                sconv_pixel(p, sconv_at(p, i), p->w + j / SGEMM_NR * p->ldw, sum);
            sgemm_finish(&p->tail, sum, p->tail.residual ? p->tail.residual + i * p->tail.ldr + j : NULL,
                         p->out + i * p->ldo + j, columns);
        }
}

#if PCX_X86
PCX_DRIVER(sconv, rows, sgemm, avx512)
PCX_DRIVER(sconv, rows, sgemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(sconv, rows, sgemm, neon)
#endif

static const pcx_impl sconv_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(sconv, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(sconv, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, PCX_DRIVEN(sconv, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, sconv_units, sconv_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_sconv = {
    "sconv", 2,
    "b ih iw ldx c x:f32[b,ih,iw:ldx,c] n ldw w:f32[ceil(n/16):ldw,kh*kw*c,16] kh kw sh sw dh dw pt pl oh ow "
    "bias?:f32[n] act act_params:f32[2] ldr residual?:f32[b*oh*ow:ldr,n] ldo out:f32[b,oh,ow:ldo,n] "
    "where act<9,n<2147483648,c<2147483648,kh>=1,kw>=1,sh>=1,sw>=1,dh>=1,dw>=1,b<2147483648,ih<2147483648,"
    "iw<2147483648,oh<2147483648,ow<2147483648,kh<2147483648,kw<2147483648,sh<2147483648,sw<2147483648,"
    "dh<2147483648,dw<2147483648,pt<2147483648,pl<2147483648",
    sconv_impls,
};
