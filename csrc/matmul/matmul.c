/*
 * matmul.c - many small products: a unit packs its right factor as spack does and multiplies as sgemm does, so that
 * results are those of the two, to the byte.
 */
#include "../sgemm/sgemm.h"

static size_t matmul_units(const void *args)
{
    const pcx_matmul_args *p = args;
    return p->m && p->n ? p->g : 0;
}

/* Floats of the packed right factor; sums of long products lie behind them. */
static size_t matmul_panels(const pcx_matmul_args *p) { return ceil_div(p->n, SGEMM_NR) * SGEMM_NR * p->k; }

static size_t matmul_scratch(const void *args)
{
    const pcx_matmul_args *p = args;
    return (matmul_panels(p) + (p->k > SGEMM_DEEP ? SGEMM_SUMS : 0)) * sizeof(float);
}

/* The product `unit` as sgemm takes it, its right factor packed into `panels`. */
static pcx_sgemm_args matmul_packed(const pcx_matmul_args *p, size_t unit, float *panels)
{
    const pcx_spack_args right = { p->n, p->bn, p->k, p->bk, p->b + unit * p->bg, panels };
    const pcx_impl *pack = pcx_spack.impls;
    pack->run(&right, 0, pack->units(&right), NULL);
    pcx_sgemm_args made = { .m = p->m, .lda = p->am, .k = p->k, .a = p->a + unit * p->ag };
    made.n = p->n;
    made.ldw = p->k * SGEMM_NR;
    made.w = panels;
    made.ldo = p->ldo;
    made.out = p->out + unit * p->og;
    return made;
}

static void matmul_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    static const float none[2] = { 0 };
    for (size_t unit = begin; unit < end; unit++) {
        pcx_sgemm_args one = matmul_packed(args, unit, scratch);
        one.tail.act_params = none;
        const sgemm_target to = { one.w, one.ldw, one.n, &one.tail };
        for (size_t i = 0; i < one.m; i++)
            sgemm_row(one.a + i * one.lda, one.k, &to, NULL, one.out + i * one.ldo);
    }
}

#if PCX_X86 || PCX_ARM64
static void matmul_micro(const void *args, size_t begin, size_t end, void *scratch, const sgemm_micro *micro)
{
    static const float none[2] = { 0 };
    for (size_t unit = begin; unit < end; unit++) {
        pcx_sgemm_args one = matmul_packed(args, unit, scratch);
        one.tail.act_params = none;
        sgemm_rows_run(&one, 0, sgemm_rows_units(&one, micro), (float *)scratch + matmul_panels(args), micro);
    }
}

#define MATMUL(isa)                                                                                \
    PCX_HIDDEN extern const sgemm_micro sgemm_micro_##isa;                                         \
    static void matmul_##isa(const void *args, size_t begin, size_t end, void *scratch)            \
    {                                                                                              \
        matmul_micro(args, begin, end, scratch, &sgemm_micro_##isa);                               \
    }
#endif
#if PCX_X86
MATMUL(avx512)
MATMUL(avx2)
#elif PCX_ARM64
MATMUL(neon)
#endif

static const pcx_impl matmul_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, matmul_units, matmul_avx512, matmul_scratch, NULL, NULL, NULL },
    { "avx2", PCX_AVX2, matmul_units, matmul_avx2, matmul_scratch, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, matmul_units, matmul_neon, matmul_scratch, NULL, NULL, NULL },
#endif
    { "scalar", 0, matmul_units, matmul_scalar, matmul_scratch, NULL, NULL, NULL },
};

const pcx_kernel pcx_matmul = {
    "matmul", 1,
    "g ag m am k a:f32[g:ag,m:am,k] bg bk n bn b:f32[g:bg,k:bk,n:bn] og ldo out:f32[g:og,m:ldo,n] "
    "where m<2147483648,n<2147483648,k<2147483648",
    matmul_impls,
};
