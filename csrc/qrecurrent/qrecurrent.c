/* qrecurrent.c - the loops for each ISA, the scalar product, and the table. */
#include "qrecurrent.h"

#include "../dynquant/dynquant.h"

/* Sums in int32, one at a time. */
static void qrecurrent_scalar_product(const qgemm_block *b, size_t panel, size_t count)
{
    for (size_t j = panel * QGEMM_NR; j < (panel + count) * QGEMM_NR; j++) {
        const int8_t *w = b->w + (j / QGEMM_NR * b->steps * QGEMM_NR + j % QGEMM_NR) * 4;
        const uint32_t weight_zero = b->wzp ? (uint32_t)b->wzp[j] : 0;
        for (size_t i = 0; i < b->rows; i++) {
            const uint32_t zero = (uint32_t)b->zero[i];
            uint32_t sum = (uint32_t)b->k * zero * weight_zero - zero * (uint32_t)b->colsum[j];
            sum -= b->wzp ? b->row_sum[i] * weight_zero : 0;
            for (size_t q = 0; q < b->k; q++)
                sum += (uint32_t)(b->row[i][q] * w[q / 4 * QGEMM_NR * 4 + q % 4]);
            ((int32_t *)b->out)[(b->i + i) * b->ldo + j] = (int32_t)sum;
        }
    }
}
static const qgemm_micro qrecurrent_scalar_micro = { .mr = 1, .panels = 1, .run = qrecurrent_scalar_product };

PCX_INLINE void qrecurrent_widen(const int32_t *sum, float each, const float *scale, float *out, size_t n)
{
    PCX_IVDEP
    for (size_t j = 0; j < n; j++)
        out[j] = (float)sum[j] * (each * scale[j]);
}

/* The loops, compiled with `attribute`. */
#define QRECURRENT_LOOPS(isa, attribute)                                                                            \
    attribute static void qrecurrent_quantize_##isa(const float *x, size_t n, uint8_t *out, float *scale, int32_t *zero) \
    {                                                                                                               \
        dynquant_row(x, n, out, scale, zero);                                                                       \
    }                                                                                                               \
    attribute static void qrecurrent_widen_##isa(const int32_t *sum, float each, const float *scale, float *out, size_t n) \
    {                                                                                                               \
        qrecurrent_widen(sum, each, scale, out, n);                                                                 \
    }

/* The micro-kernel `isa`: recurrent's loops, a product, and the loops above of `own`. */
#define QRECURRENT_MICRO(isa, loops, product, own)                                                   \
    PCX_HIDDEN extern const recurrent_micro recurrent_micro_##loops;                                 \
    PCX_HIDDEN extern const qrecurrent_micro qrecurrent_micro_##isa;                                 \
    const qrecurrent_micro qrecurrent_micro_##isa = { &recurrent_micro_##loops, &product,            \
                                                      qrecurrent_quantize_##own, qrecurrent_widen_##own };

QRECURRENT_LOOPS(scalar, __attribute__((cold)))
QRECURRENT_MICRO(scalar, scalar, qrecurrent_scalar_micro, scalar)
PCX_DRIVER(qrecurrent, rows, qrecurrent, scalar)
#if PCX_X86
PCX_HIDDEN extern const qgemm_micro qgemm_micro_avx2, qgemm_micro_avxvnni, qgemm_micro_avx512vnni, qgemm_micro_avx512vbmi;
QRECURRENT_LOOPS(avx2, __attribute__((target("avx2,fma"))))
QRECURRENT_MICRO(avx2, avx2, qgemm_micro_avx2, avx2)
QRECURRENT_MICRO(avxvnni, avx2, qgemm_micro_avxvnni, avx2)
QRECURRENT_MICRO(avx512vnni, avx2, qgemm_micro_avx512vnni, avx2)
QRECURRENT_MICRO(avx512vbmi, avx2, qgemm_micro_avx512vbmi, avx2)
PCX_DRIVER(qrecurrent, rows, qrecurrent, avx2)
PCX_DRIVER(qrecurrent, rows, qrecurrent, avxvnni)
PCX_DRIVER(qrecurrent, rows, qrecurrent, avx512vnni)
PCX_DRIVER(qrecurrent, rows, qrecurrent, avx512vbmi)
#endif
#if PCX_ARM64
PCX_HIDDEN extern const qgemm_micro qgemm_micro_neon, qgemm_micro_dotprod, qgemm_micro_i8mm;
QRECURRENT_LOOPS(neon, )
QRECURRENT_MICRO(neon, neon, qgemm_micro_neon, neon)
QRECURRENT_MICRO(dotprod, neon, qgemm_micro_dotprod, neon)
QRECURRENT_MICRO(i8mm, neon, qgemm_micro_i8mm, neon)
PCX_DRIVER(qrecurrent, rows, qrecurrent, neon)
PCX_DRIVER(qrecurrent, rows, qrecurrent, dotprod)
PCX_DRIVER(qrecurrent, rows, qrecurrent, i8mm)
#endif

static const pcx_impl qrecurrent_impls[] = {
#if PCX_X86
    { "avx512vbmi", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI | PCX_AVX512VBMI, PCX_DRIVEN(qrecurrent, avx512vbmi),
      NULL, NULL, NULL },
    { "avx512vnni", PCX_AVX2 | PCX_AVX512 | PCX_AVX512VNNI, PCX_DRIVEN(qrecurrent, avx512vnni), NULL, NULL, NULL },
    { "avxvnni", PCX_AVX2 | PCX_AVXVNNI, PCX_DRIVEN(qrecurrent, avxvnni), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(qrecurrent, avx2), qrecurrent_rows_prepared, qrecurrent_rows_prepare, NULL },
#endif
#if PCX_ARM64
    { "i8mm", PCX_NEON | PCX_DOTPROD | PCX_I8MM, PCX_DRIVEN(qrecurrent, i8mm), NULL, NULL, NULL },
    { "dotprod", PCX_NEON | PCX_DOTPROD, PCX_DRIVEN(qrecurrent, dotprod), NULL, NULL, NULL },
    { "neon", PCX_NEON, PCX_DRIVEN(qrecurrent, neon), qrecurrent_rows_prepared, qrecurrent_rows_prepare, NULL },
#endif
    { "scalar", 0, PCX_DRIVEN(qrecurrent, scalar), NULL, NULL, NULL },
};

const pcx_kernel pcx_qrecurrent = {
    "qrecurrent", 1,
    "coupled backward t xt b xb d h x:f32[t:xt,b:xb,d*4*h] w:i8[d*4,ceil(h/16),ceil(h/4),16,4] "
    "colsum:i32[d*4,ceil(h/16)*16] wzp?:i32[d*4,ceil(h/16)*16] scale:f32[d*4,h] peepholes?:f32[d,3,h] "
    "lengths?:i32[b] h0?:f32[d,b,h] c0?:f32[d,b,h] acts:i32[d,3]<11 act_params:f32[d,3,2] clip:f32[1] "
    "prepared:prepared ot od ob out:f32[t:ot,d:od,b:ob,h] out_h:f32[d,b,h] out_c:f32[d,b,h] where "
    "d<3,backward<4,t<2147483648,b<2147483648,h<=65536",
    qrecurrent_impls,
};
