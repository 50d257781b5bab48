/* csrmm_neon.c - panels of up to eight times 32 bytes: spmm's tile; and a column of x, as in csrmv_neon.c. */
#include "csrmm.h"

#include <math.h>

#include "../common/eight_neon.h"
#include "../spmm/spmm_transpose.h"

#if PCX_ARM64

typedef struct {
    float64x2_t low, high;
} four;

PCX_INLINE four csrmm_neon_load_f64(const double *x) { return (four){ vld1q_f64(x), vld1q_f64(x + 2) }; }
PCX_INLINE four csrmm_neon_broadcast_f64(const double *x) { return (four){ vdupq_n_f64(*x), vdupq_n_f64(*x) }; }
PCX_INLINE four csrmm_neon_zero_f64(void) { return (four){ vdupq_n_f64(0), vdupq_n_f64(0) }; }

PCX_INLINE void csrmm_neon_store_f64(double *to, four x)
{
    vst1q_f64(to, x.low);
    vst1q_f64(to + 2, x.high);
}

PCX_INLINE four csrmm_neon_fma_f64(four a, four b, four sum)
{
    return (four){ vfmaq_f64(sum.low, a.low, b.low), vfmaq_f64(sum.high, a.high, b.high) };
}

#define TILE_INDEX    int32_t
#define PANEL_VECTORS 8

#define PANEL_FILL     csrmm_neon_fill_f64
#define PANEL_ROWS     csrmm_neon_rows_f64
#define PANEL_ROWS_OF  csrmm_neon_rows_of_f64
#define PANEL_STORE    csrmm_neon_store_f64
#define PANEL_ZERO     csrmm_neon_zero_f64
#define TILE           csrmm_neon_dot_f64
#define TILE_ONE       csrmm_neon_one_f64
#define TILE_REAL      double
#define TILE_VECTOR    four
#define TILE_LOAD      csrmm_neon_load_f64
#define TILE_BROADCAST csrmm_neon_broadcast_f64
#define TILE_FMA       csrmm_neon_fma_f64
#include "csrmm_panel.h"

#define PANEL_FILL     csrmm_neon_fill_f32
#define PANEL_ROWS     csrmm_neon_rows_f32
#define PANEL_ROWS_OF  csrmm_neon_rows_of_f32
#define PANEL_STORE    eight_neon_store
#define PANEL_ZERO     eight_neon_zero
#define PANEL_TILE     "../spmm/spmm_tile_neon.h"
#define TILE           csrmm_neon_dot_f32
#define TILE_ONE       csrmm_neon_one_f32
#define TILE_SOME      csrmm_neon_some_f32
#define TILE_REAL      float
#define TILE_VECTOR    eight_neon
#define TILE_LOAD      eight_neon_load
#include "csrmm_panel.h"

static void csrmm_neon_transpose(const pcx_csrmm_args *p, size_t column, size_t columns, size_t lanes, float *panel)
{
    spmm_transpose_in((const float *)p->x + column * p->incx, p->incx, columns, lanes, panel,
                      round_up(columns, lanes), p->k);
}

/* out[r] of the rows [first, last), each of eight sums. */
#define VECTOR_ROWS(type, real, fma) \
    static void csrmm_neon_vector_##type(const pcx_csrmm_args *p, size_t first, size_t last) \
    { \
        enum { SUMS = 8 }; \
        const real *w = p->w, *x = p->x; \
        int32_t columns[SUMS]; \
        for (size_t r = first; r < last; r++) { \
            const size_t end = csrmm_bound(p, r + 1); \
            size_t i = csrmm_bound(p, r); \
            real sum[SUMS] = { 0 }; \
            for (; i + SUMS <= end; i += SUMS) { \
                csrmm_columns(p, i, SUMS, columns); \
                PCX_UNROLL \
                for (size_t j = 0; j < SUMS; j++) \
                    sum[j] = fma(w[i + j], x[columns[j]], sum[j]); \
            } \
            for (; i < end; i++) { \
                csrmm_columns(p, i, 1, columns); \
                sum[0] = fma(w[i], x[columns[0]], sum[0]); \
            } \
            for (size_t half = SUMS / 2; half; half /= 2) \
                for (size_t j = 0; j < half; j++) \
                    sum[j] += sum[j + half]; \
            ((real *)p->out)[r * p->ldo] = sum[0]; \
        } \
    }
VECTOR_ROWS(f32, float, fmaf)
VECTOR_ROWS(f64, double, fma)
#undef VECTOR_ROWS

PCX_HIDDEN extern const csrmm_micro csrmm_micro_neon;
const csrmm_micro csrmm_micro_neon = {
    .bytes = sizeof(eight_neon), .vectors = PANEL_VECTORS,
    .fill = { csrmm_neon_fill_f32, csrmm_neon_fill_f64 }, .transpose = csrmm_neon_transpose,
    .rows = { csrmm_neon_rows_f32, csrmm_neon_rows_f64 }, .vector = { csrmm_neon_vector_f32, csrmm_neon_vector_f64 },
};

#endif
