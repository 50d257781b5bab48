/* csrmm.c - scalar and the table. */
#include "csrmm.h"

static size_t csrmm_units(const void *args) { return ((const pcx_csrmm_args *)args)->n; }

/* Rows [begin, end) of out; each nonzero adds a row of x. */
#define ROWS(real) \
    static void csrmm_rows_##real(const pcx_csrmm_args *p, size_t begin, size_t end) \
    { \
        const real *w = p->w, *x = p->x; \
        for (size_t r = begin; r < end; r++) { \
            real *out = (real *)p->out + r * p->ldo; \
            for (size_t j = 0; j < p->m; j++) \
                out[j] = 0; \
            for (size_t q = csrmm_bound(p, r), last = csrmm_bound(p, r + 1); q < last; q++) { \
                int32_t column; \
                csrmm_columns(p, q, 1, &column); \
                const real *from = x + (size_t)column * p->ldx; \
                for (size_t j = 0; j < p->m; j++) \
                    out[j] += w[q] * from[j * p->incx]; \
            } \
        } \
    }
ROWS(float)
ROWS(double)

void csrmm_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_csrmm_args *p = args;
    (void)scratch;
    if (p->t == PCX_F32)
        csrmm_rows_float(p, begin, end);
    else
        csrmm_rows_double(p, begin, end);
}

#if PCX_X86
PCX_DRIVER(csrmm, panels, csrmm, avx512)
PCX_DRIVER(csrmm, panels, csrmm, avx2)
#endif
#if PCX_ARM64
PCX_DRIVER(csrmm, panels, csrmm, neon)
#endif

static const pcx_impl csrmm_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, PCX_DRIVEN(csrmm, avx512), NULL, NULL, NULL },
    { "avx2", PCX_AVX2, PCX_DRIVEN(csrmm, avx2), NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, PCX_DRIVEN(csrmm, neon), NULL, NULL, NULL },
#endif
    { "scalar", 0, csrmm_units, csrmm_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_csrmm = {
    "csrmm", 1,
    "n nnz rows:i32[n+1]<nnz+1 k index:i32[nnz]<k t w:{f32,f64}t[nnz] ldx m incx x:{f32,f64}t[k:ldx,m:incx] "
    "ldo out:{f32,f64}t[n:ldo,m]",
    csrmm_impls,
};
