/* dwconv.c - scalar and the table.  A unit is one output line. */
#include "dwconv.h"

#include "../common/act.h"

enum { BLOCK = 16 }; /* channels at a time */

static size_t dwconv_units(const void *args)
{
    const pcx_dwconv_args *p = args;
    return p->c && p->ow ? p->b * p->oh : 0;
}

/* sum += the products of one output pixel, for `count` channels from `channel` on. */
static void dwconv_pixel(const pcx_dwconv_args *p, size_t image, size_t y, size_t x, size_t channel, size_t count,
                         float *sum)
{
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t iy = y * p->sh + ky * p->dh - p->pt, ix = x * p->sw + kx * p->dw - p->pl;
            if (iy >= p->ih || ix >= p->iw) /* above or left of the image they are huge */
                continue;
            const float *in = p->x + ((image * p->ih + iy) * p->iw + ix) * p->ldx + channel;
            const float *w = p->w + (ky * p->kw + kx) * p->c + channel;
            for (size_t j = 0; j < count; j++)
                sum[j] += in[j] * w[j];
        }
}

static void dwconv_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_dwconv_args *p = args;
    (void)scratch;
    for (size_t line = begin; line < end; line++)
        for (size_t x = 0; x < p->ow; x++)
            for (size_t j = 0; j < p->c; j += BLOCK) {
                const size_t count = min_size(BLOCK, p->c - j), pixel = line * p->ow + x;
                float sum[BLOCK] = { 0 };
                dwconv_pixel(p, line / p->oh, line % p->oh, x, j, count, sum);
                for (size_t v = 0; v < count; v++) {
                    float y = sum[v];
                    if (p->tail.bias)
                        y += p->tail.bias[j + v];
                    if (p->tail.residual)
                        y += p->tail.residual[pixel * p->tail.ldr + j + v];
                    p->out[pixel * p->ldo + j + v] = act_apply(y, p->tail.act, p->tail.act_params);
                }
            }
}

#if PCX_X86
/*
 * Where pixels are no multiple of a cache line apart, half of all vectors of 512 bits straddle two; many channels outweigh
 * it.
 */
static int dwconv_suits_avx512(const void *args)
{
    const pcx_dwconv_args *p = args;
    return p->ldx % 16 == 0 || p->c >= 96;
}
#endif

static const pcx_impl dwconv_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, dwconv_units_avx512, dwconv_avx512, NULL, NULL, NULL, dwconv_suits_avx512 },
    { "avx2", PCX_AVX2, dwconv_units_avx2, dwconv_avx2, dwconv_scratch_avx2, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, dwconv_units_neon, dwconv_neon, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, dwconv_units, dwconv_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_dwconv = {
    "dwconv", 2,
    "b ih iw ldx c x:f32[b,ih,iw:ldx,c] w:f32[kh*kw,c] kh kw sh sw dh dw pt pl oh ow bias?:f32[c] act act_params:f32[2] "
    "ldr residual?:f32[b*oh*ow:ldr,c] ldo out:f32[b,oh,ow:ldo,c] "
    "where act<9,c<2147483648,kh>=1,kw>=1,sh>=1,sw>=1,dh>=1,dw>=1,b<2147483648,ih<2147483648,iw<2147483648,"
    "oh<2147483648,ow<2147483648,kh<2147483648,kw<2147483648,sh<2147483648,sw<2147483648,dh<2147483648,"
    "dw<2147483648,pt<2147483648,pl<2147483648",
    dwconv_impls,
};
