/* recurrent.c - the loops for each ISA, the scalar product, and the table. */
#include "../common/act.h"
#include "recurrent.h"

/* The rare activations, one number at a time. */
static float recurrent_rare(float x, int32_t act, float a, float b)
{
    switch (act) {
    case 3: return x < 0 ? a * x : x;
    case 4: return a * x + b;
    case 5: return act_unit(a * x + b);
    case 6: return a * act_tanh(b * x);
    case 7: return x > a || x != x ? x : 0;
    case 8: return x < 0 ? a * expm1f(x) : x;
    case 9: return x / (1 + fabsf(x));
    default: return (x > 0 ? x : 0) + log1pf(expf(-fabsf(x)));
    }
}

#define RECURRENT_EACH(statement)  \
    PCX_IVDEP                      \
    for (size_t j = 0; j < n; j++) \
        statement

PCX_INLINE void recurrent_add(float *y, const float *x, const float *hole, const float *cell, float top, size_t n)
{
    if (hole)
        RECURRENT_EACH(y[j] += hole[j] * cell[j]);
    PCX_IVDEP
    for (size_t j = 0; j < n; j++) {
        const float sum = y[j] + x[j], over = act_either(sum < -top, -top, sum);
        y[j] = act_either(over > top, top, over);
    }
}

PCX_INLINE void recurrent_act(float *y, size_t n, int32_t act, const float *params)
{
    if (act == 0)
        RECURRENT_EACH(y[j] = act_tanh(y[j]));
    else if (act == 1)
        RECURRENT_EACH(y[j] = act_sigmoid(y[j]));
    else if (act == 2)
        RECURRENT_EACH(y[j] = act_either(y[j] < 0, 0, y[j]));
    else
        for (size_t j = 0; j < n; j++)
            y[j] = recurrent_rare(y[j], act, params[0], params[1]);
}

PCX_INLINE void recurrent_multiply(float *y, const float *a, size_t n)
{
    RECURRENT_EACH(y[j] *= a[j]);
}

PCX_INLINE void recurrent_mix(float *y, const float *a, const float *b, const float *c, size_t n)
{
    if (c)
        RECURRENT_EACH(y[j] = a[j] * b[j] + c[j] * y[j]);
    else
        RECURRENT_EACH(y[j] = a[j] * b[j] + (1 - a[j]) * y[j]);
}

/* The loops, compiled with `attribute`. */
#define RECURRENT_LOOPS(isa, attribute)                                                                                  \
    attribute static void recurrent_add_##isa(float *y, const float *x, const float *hole, const float *cell, float top, \
                                              size_t n)                                                                  \
    {                                                                                                                    \
        recurrent_add(y, x, hole, cell, top, n);                                                                         \
    }                                                                                                                    \
    attribute static void recurrent_act_##isa(float *y, size_t n, int32_t act, const float *params)                      \
    {                                                                                                                    \
        recurrent_act(y, n, act, params);                                                                                \
    }                                                                                                                    \
    attribute static void recurrent_multiply_##isa(float *y, const float *a, size_t n) { recurrent_multiply(y, a, n); }  \
    attribute static void recurrent_mix_##isa(float *y, const float *a, const float *b, const float *c, size_t n)        \
    {                                                                                                                    \
        recurrent_mix(y, a, b, c, n);                                                                                    \
    }

/* The micro-kernel `isa`, with the loops of `loops`. */
#define RECURRENT_MICRO(isa, product, loops)                                                                   \
    PCX_HIDDEN extern const recurrent_micro recurrent_micro_##isa;                                             \
    const recurrent_micro recurrent_micro_##isa = { product, recurrent_add_##loops, recurrent_act_##loops,     \
                                                    recurrent_multiply_##loops, recurrent_mix_##loops };

static void recurrent_scalar_product(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end)
{
    const sgemm_target some = { to->w + begin * to->ldw, to->ldw, (end - begin) * SGEMM_NR, to->tail };
    for (size_t i = 0; i < rows->count; i++)
        sgemm_row(rows->a[i], rows->length, &some, NULL, rows->out[i] + begin * SGEMM_NR);
}

RECURRENT_LOOPS(scalar, __attribute__((cold)))
RECURRENT_MICRO(scalar, recurrent_scalar_product, scalar)
PCX_DRIVER(recurrent, rows, recurrent, scalar)
#if PCX_X86
RECURRENT_LOOPS(avx2, __attribute__((target("avx2,fma"))))
RECURRENT_MICRO(avx2, sgemm_rows_avx2, avx2)
RECURRENT_MICRO(avx512, sgemm_rows_avx512, avx2) /* products take nearly all of the time */
PCX_DRIVER(recurrent, rows, recurrent, avx2)
PCX_DRIVER(recurrent, rows, recurrent, avx512)
#endif
#if PCX_ARM64
RECURRENT_LOOPS(neon, )
RECURRENT_MICRO(neon, sgemm_rows_neon, neon)
PCX_DRIVER(recurrent, rows, recurrent, neon)
#endif

static const pcx_impl recurrent_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(recurrent, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(recurrent, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, PCX_DRIVEN(recurrent, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, PCX_DRIVEN(recurrent, scalar), NULL, NULL, NULL },
};

const pcx_kernel pcx_recurrent = {
    "recurrent", 1,
    "g linear coupled backward t xt b xb d h x:f32[t:xt,b:xb,d*g*h] w:f32[d*g,ceil(h/16),h,16] bias?:f32[d,h] "
    "peepholes?:f32[d,3,h] lengths?:i32[b] h0?:f32[d,b,h] c c0?:f32[d,b,c] acts:i32[d,3]<11 act_params:f32[d,3,2] "
    "clip:f32[1] ot od ob out:f32[t:ot,d:od,b:ob,h] out_h:f32[d,b,h] out_c:f32[d,b,c] where "
    "(g-1)*(g-3)*(g-4)==0,c==h*max(g-3,0),d<3,backward<4,t<2147483648,b<2147483648,h<1048576",
    recurrent_impls,
};
