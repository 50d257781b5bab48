/* qconv.c - scalar and the table. */
#include "qconv.h"

static size_t qconv_units(const void *args)
{
    const qconv_grid g = qconv_split(args, 1, QGEMM_NEAR);
    return g.blocks * g.groups;
}

/* sum += the products of one window with one panel; unsigned, since sums wrap. */
static void qconv_window(const pcx_qconv_args *p, const qconv_place *at, const int8_t *w, const uint32_t *zw,
                   uint32_t sum[QGEMM_NR])
{
    const uint32_t zero = (uint32_t)p->xzp[0];
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++) {
            const uint8_t *x = qconv_tap(p, at, ky, kx);
            const int8_t *tap = w + (ky * p->kw + kx) * ceil_div(p->c, 4) * QGEMM_STEP;
            for (size_t q = 0; x && q < p->c; q++) {
                const int8_t *four = tap + q / 4 * QGEMM_STEP + q % 4;
                for (size_t c = 0; c < QGEMM_NR; c++)
                    sum[c] += (x[q] - zero) * ((uint32_t)four[c * 4] - zw[c]);
            }
        }
}

static void qconv_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qconv_args *p = args;
    const qconv_grid g = qconv_split(p, 1, QGEMM_NEAR);
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    (void)scratch;
    for (size_t u = begin; u < end; u++) {
        const size_t top = u / g.groups * g.rows, bottom = min_size(top + g.rows, g.pixels);
        const size_t group = u % g.groups, first = qgemm_group_begin(g.panels, g.groups, group);
        const size_t last = qgemm_group_begin(g.panels, g.groups, group + 1);
        for (size_t panel = first; panel < last; panel++) {
            const size_t j = panel * QGEMM_NR, cols = min_size(QGEMM_NR, p->n - j);
            uint32_t start[QGEMM_NR] = { 0 }, zw[QGEMM_NR] = { 0 };
            for (size_t c = 0; c < cols; c++) {
                start[c] = p->tail.bias ? (uint32_t)p->tail.bias[j + c] : 0;
                zw[c] = p->wzp ? (uint32_t)p->wzp[j + c] : 0;
            }
            for (size_t i = top; i < bottom; i++) {
                const qconv_place at = qconv_at(p, i);
                uint32_t sum[QGEMM_NR];
                memcpy(sum, start, sizeof sum);
                if (p->c)
                    qconv_window(p, &at, p->w + panel * g.steps * QGEMM_STEP, zw, sum);
                qepilogue_any_row(&tail, i, j, cols, (const int32_t *)sum,
                                  (uint8_t *)p->out + (i * p->ldo + j) * tail.bytes);
            }
        }
    }
}

#if PCX_X86
/* As qgemm's; and a product of tiles of few steps takes as long as one of 16. */
static int qconv_suits_amx(const void *args)
{
    const pcx_qconv_args *p = args;
    return p->b * p->oh * p->ow >= 8 && qconv_together(p) >= 3 && !p->wzp;
}

PCX_DRIVER(qconv, rows, qgemm, amx)
PCX_DRIVER(qconv, rows, qgemm, avx512vbmi)
PCX_DRIVER(qconv, rows, qgemm, avx512vnni)
PCX_DRIVER(qconv, rows, qgemm, avxvnni)
PCX_DRIVER(qconv, rows, qgemm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(qconv, rows, qgemm, i8mm)
PCX_DRIVER(qconv, rows, qgemm, dotprod)
PCX_DRIVER(qconv, rows, qgemm, neon)
#endif

static const pcx_impl qconv_impls[] = {
#if PCX_X86
    { "amx", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI | PCX_AVX512VBMI | PCX_AMXINT8, PCX_DRIVEN(qconv, amx),
      NULL, NULL, qconv_suits_amx },
    { "avx512vbmi", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI | PCX_AVX512VBMI, PCX_DRIVEN(qconv, avx512vbmi),
      NULL, NULL, NULL },
    { "avx512vnni", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI, PCX_DRIVEN(qconv, avx512vnni), NULL, NULL, NULL },
    { "avxvnni", PCX_AVX2 | PCX_AVXVNNI, PCX_DRIVEN(qconv, avxvnni), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(qconv, avx2), qconv_rows_prepared, qconv_rows_prepare, NULL },
#endif
#if PCX_ARM64
    { "i8mm", PCX_NEON | PCX_DOTPROD | PCX_I8MM, PCX_DRIVEN(qconv, i8mm), NULL, NULL, NULL },
    { "dotprod", PCX_NEON | PCX_DOTPROD, PCX_DRIVEN(qconv, dotprod), NULL, NULL, NULL },
    { "neon", PCX_NEON, PCX_DRIVEN(qconv, neon), qconv_rows_prepared, qconv_rows_prepare, NULL },
#endif
    { "scalar", 0, qconv_units, qconv_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_qconv = {
    "qconv", 2,
    "b ih iw ldx c x:u8[b,ih,iw:ldx,c] xzp:i32[1] n w:i8[ceil(n/16),kh*kw,ceil(c/4),16,4] "
    "kh kw sh sw dh dw pt pl colsum:i32[n] wzp?:i32[n] "
    "oh ow bias?:i32[n] scale?:f32[n] clamp?:i32[3] lut?:u8[256] add_scale?:f32[2] add_zero?:i32[5] "
    "ldr residual?:u8[b*oh*ow:ldr,n] act act_params:f32[2] prepared:prepared "
    "ldo ot out:{u8,i32,f32}ot[b,oh,ow:ldo,n] where act<9,n<2147483648,c<2147483648,kh*kw*c<=65536,"
    "kh>=1,kw>=1,sh>=1,sw>=1,dh>=1,dw>=1,b<2147483648,ih<2147483648,"
    "iw<2147483648,oh<2147483648,ow<2147483648,kh<2147483648,kw<2147483648,sh<2147483648,sw<2147483648,"
    "dh<2147483648,dw<2147483648,pt<2147483648,pl<2147483648",
    qconv_impls,
};
