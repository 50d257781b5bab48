/* csrmm_avx2.c - panels of up to eight vectors of 256 bits: spmm's tile. */
#include "csrmm_vector.h"

#include "../spmm/spmm_transpose.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

#define TILE_INDEX    int32_t
#define PANEL_VECTORS 8

#define PANEL_FILL     csrmm_avx2_fill_f32
#define PANEL_ROWS     csrmm_avx2_rows_f32
#define PANEL_ROWS_OF  csrmm_avx2_rows_of_f32
#define PANEL_STORE    _mm256_storeu_ps
#define PANEL_ZERO     _mm256_setzero_ps
#define TILE           csrmm_avx2_dot_f32
#define TILE_ONE       csrmm_avx2_one_f32
#define TILE_REAL      float
#define TILE_VECTOR    __m256
#define TILE_LOAD      _mm256_loadu_ps
#define TILE_BROADCAST _mm256_broadcast_ss
#define TILE_FMA       _mm256_fmadd_ps
#include "csrmm_panel.h"

#define PANEL_FILL     csrmm_avx2_fill_f64
#define PANEL_ROWS     csrmm_avx2_rows_f64
#define PANEL_ROWS_OF  csrmm_avx2_rows_of_f64
#define PANEL_STORE    _mm256_storeu_pd
#define PANEL_ZERO     _mm256_setzero_pd
#define TILE           csrmm_avx2_dot_f64
#define TILE_ONE       csrmm_avx2_one_f64
#define TILE_REAL      double
#define TILE_VECTOR    __m256d
#define TILE_LOAD      _mm256_loadu_pd
#define TILE_BROADCAST _mm256_broadcast_sd
#define TILE_FMA       _mm256_fmadd_pd
#include "csrmm_panel.h"

void csrmm_avx2_transpose(const pcx_csrmm_args *p, size_t column, size_t columns, size_t lanes, float *panel)
{
    spmm_transpose_in((const float *)p->x + column * p->incx, p->incx, columns, lanes, panel,
                      round_up(columns, lanes), p->k);
}

void csrmm_avx2_vector_f32(const pcx_csrmm_args *p, size_t first, size_t last) { csrmm_vector_f32(p, first, last); }
void csrmm_avx2_vector_f64(const pcx_csrmm_args *p, size_t first, size_t last) { csrmm_vector_f64(p, first, last); }

PCX_HIDDEN extern const csrmm_micro csrmm_micro_avx2;
const csrmm_micro csrmm_micro_avx2 = {
    .bytes = sizeof(__m256), .vectors = PANEL_VECTORS,
    .fill = { csrmm_avx2_fill_f32, csrmm_avx2_fill_f64 }, .transpose = csrmm_avx2_transpose,
    .rows = { csrmm_avx2_rows_f32, csrmm_avx2_rows_f64 }, .vector = { csrmm_avx2_vector_f32, csrmm_avx2_vector_f64 },
};

PCX_TARGET_END
#endif
