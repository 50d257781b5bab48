/* pdwconv.c - scalar and the table. */
#include "pdwconv.h"

#include "../runtime/act.h"

static size_t pdwconv_units(const void *args)
{
    const pcx_pdwconv_args *p = args;
    return p->c && p->oh && p->ow ? ceil_div(p->c, pdwconv_planes(p)) : 0;
}

static float pdwconv_sum(const pcx_pdwconv_args *p, size_t c, size_t y, size_t x)
{
    const float *w = p->w + c * p->kh * p->kw;
    float sum = p->bias ? p->bias[c] : 0;
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t iy = y * p->sh + ky * p->dh - p->pt, ix = x * p->sw + kx * p->dw - p->pl;
            if (iy < p->ih && ix < p->iw) /* above or left of the image they are huge */
                sum += p->x[c * p->ldx + iy * p->iw + ix] * w[ky * p->kw + kx];
        }
    return sum;
}

static void pdwconv_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_pdwconv_args *p = args;
    const size_t planes = pdwconv_planes(p), last = min_size(end * planes, p->c);
    (void)scratch;
    for (size_t c = begin * planes; c < last; c++)
        for (size_t y = 0; y < p->oh; y++)
            for (size_t x = 0; x < p->ow; x++) {
                float sum = pdwconv_sum(p, c, y, x);
                if (p->residual)
                    sum += p->residual[c * p->ldr + y * p->ow + x];
                p->out[c * p->ldo + y * p->ow + x] = pcx_act(sum, p->act, p->act_params);
            }
}

static const pcx_impl impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, pdwconv_units, pdwconv_avx2, NULL, NULL, NULL },
#endif
    { "scalar", 0, pdwconv_units, pdwconv_scalar, NULL, NULL, NULL },
};

const pcx_kernel pcx_pdwconv = {
    "pdwconv", 1,
    "c ldx ih iw x:f32[c:ldx,ih,iw] w:f32[c,kh*kw] kh kw sh sw dh dw pt pl bias?:f32[c] act act_params:f32[2] "
    "ldr oh ow residual?:f32[c:ldr,oh,ow] ldo out:f32[c:ldo,oh,ow] "
    "where act<9,c<2147483648,kh>=1,kw>=1,sh>=1,sw>=1,dh>=1,dw>=1,ih<2147483648,iw<2147483648,"
    "oh<2147483648,ow<2147483648,kh<2147483648,kw<2147483648,sh<2147483648,sw<2147483648,dh<2147483648,"
    "dw<2147483648,pt<2147483648,pl<2147483648",
    impls,
};
