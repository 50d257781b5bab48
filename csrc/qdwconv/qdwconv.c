/* qdwconv.c - scalar and the table. */
#include "qdwconv.h"
#include "qdwconv_quads.h"

/* Lines of one strip: as wide as AVX2's, whose units the scalar kernel can take over. */
static qdwconv_grid qdwconv_grid_of(const void *args)
{
    return qdwconv_split(args, 1, QDWCONV_WIDTH, QDWCONV_CHANNELS);
}

static size_t qdwconv_units(const void *args)
{
    const qdwconv_grid g = qdwconv_grid_of(args);
    return g.strips * g.slices;
}

enum { BLOCK = 16 }; /* channels at a time */

/* Channels [j, j + cols) of pixel x of output line y. */
static void qdwconv_pixel(const pcx_qdwconv_args *p, const qepilogue *tail, size_t y, size_t x, size_t j, size_t cols)
{
    const size_t image = y / p->oh, top = y % p->oh * p->sh - p->pt, left = x * p->sw - p->pl; /* wrap outside */
    const uint32_t zero = (uint32_t)p->xzp[0];
    uint32_t sum[BLOCK] = { 0 }; /* unsigned, since sums wrap */
    if (p->tail.bias)
        memcpy(sum, p->tail.bias + j, cols * sizeof *sum);
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t iy = top + ky * p->dh, ix = left + kx * p->dw;
            if (iy >= p->ih || ix >= p->iw)
                continue;
            const uint8_t *at = p->x + ((image * p->ih + iy) * p->iw + ix) * p->ldx;
            const int8_t *w = p->w + (ky * p->kw + kx) * p->c + j;
            for (size_t c = 0; c < cols; c++)
                sum[c] += (at[j + c] - zero) * ((uint32_t)w[c] - (p->wzp ? (uint32_t)p->wzp[j + c] : 0));
        }
    const size_t i = y * p->ow + x;
    qepilogue_any_row(tail, i, j, cols, (const int32_t *)sum, (uint8_t *)p->out + (i * p->ldo + j) * tail->bytes);
}

void qdwconv_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qdwconv_args *p = args;
    const qdwconv_grid g = qdwconv_grid_of(p);
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    (void)scratch;
    for (size_t u = begin; u < end; u++) {
        const qdwconv_strip s = qdwconv_strip_at(p, &g, u / g.slices);
        const size_t first = u % g.slices * g.channels, last = qdwconv_slice_end(p, &g, u % g.slices);
        for (size_t x = s.first; x < s.first + s.count; x++)
            for (size_t j = first; j < last; j += BLOCK)
                qdwconv_pixel(p, &tail, s.y, x, j, min_size(BLOCK, last - j));
    }
}

#if PCX_X86 || PCX_ARM64
/* A row whose weights are prepared by its own micro-kernel. */
#define QDWCONV_ROW(isa)                                                                              \
    PCX_DRIVER(qdwconv, lines, qdwconv, isa)                                                          \
    static size_t qdwconv_prepared_##isa(const void *args)                                            \
    {                                                                                                 \
        return qdwconv_lines_prepared(args, &qdwconv_micro_##isa);                                    \
    }                                                                                                 \
    static void qdwconv_prepare_##isa(const void *args, void *prepared)                               \
    {                                                                                                 \
        qdwconv_lines_prepare(args, prepared, &qdwconv_micro_##isa);                                  \
    }
#define QDWCONV_OF(isa) PCX_DRIVEN(qdwconv, isa), qdwconv_prepared_##isa, qdwconv_prepare_##isa
#endif
#if PCX_X86
QDWCONV_ROW(avx512vbmi)
QDWCONV_ROW(avx512vnni)
QDWCONV_ROW(avxvnni)
QDWCONV_ROW(avx2)

/* 256 bits: with a stride of 2, and 3 x 3 taps or large images, avx2 is better. */
static int qdwconv_suits_avxvnni(const void *args)
{
    const pcx_qdwconv_args *p = args;
    return qdwconv_quads_take(p) && (p->sw == 1 || (p->kh == 5 && p->ow <= 14));
}
#endif
#if PCX_ARM64
QDWCONV_ROW(dotprod)
QDWCONV_ROW(neon)
#endif

static const pcx_impl qdwconv_impls[] = {
#if PCX_X86
    { "avx512vbmi", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI | PCX_AVX512VBMI, QDWCONV_OF(avx512vbmi),
      qdwconv_quads_take },
    { "avx512vnni", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI, QDWCONV_OF(avx512vnni), qdwconv_quads_take },
    { "avxvnni", PCX_AVX2 | PCX_AVXVNNI, QDWCONV_OF(avxvnni), qdwconv_suits_avxvnni },
    { "avx2", PCX_AVX2, QDWCONV_OF(avx2), NULL },
#endif
#if PCX_ARM64
    { "dotprod", PCX_NEON | PCX_DOTPROD, QDWCONV_OF(dotprod), qdwconv_dotprod_takes },
    { "neon", PCX_NEON, QDWCONV_OF(neon), NULL },
#endif
    { "scalar", 0, qdwconv_units, qdwconv_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_qdwconv = {
    "qdwconv", 2,
    "b ih iw ldx c x:u8[b,ih,iw:ldx,c] xzp:i32[1] w:i8[kh*kw,c] kh kw sh sw dh dw pt pl colsum:i32[c] wzp?:i32[c] "
    "oh ow bias?:i32[c] scale?:f32[c] clamp?:i32[3] lut?:u8[256] add_scale?:f32[2] add_zero?:i32[5] "
    "ldr residual?:u8[b*oh*ow:ldr,c] act act_params:f32[2] prepared:prepared "
    "ldo ot out:{u8,i32,f32}ot[b,oh,ow:ldo,c] where act<9,c<2147483648,kh*kw<=65536,"
    "kh>=1,kw>=1,sh>=1,sw>=1,dh>=1,dw>=1,b<2147483648,ih<2147483648,"
    "iw<2147483648,oh<2147483648,ow<2147483648,kh<2147483648,kw<2147483648,sh<2147483648,sw<2147483648,"
    "dh<2147483648,dw<2147483648,pt<2147483648,pl<2147483648",
    qdwconv_impls,
};
