/*
 * csrmm_avx512.c - panels of up to four vectors of 512 bits: spmm's tile.  A dense column is AVX2's: its numbers are
 * loaded one by one, which vectors of any width wait for.
 */
#include "csrmm.h"

#include "../spmm/spmm.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET(PCX_TARGET_AVX512)

PCX_INLINE __m512 csrmm_avx512_broadcast_f32(const float *w) { return _mm512_set1_ps(*w); }
PCX_INLINE __m512d csrmm_avx512_broadcast_f64(const double *w) { return _mm512_set1_pd(*w); }

#define TILE_INDEX    int32_t
#define PANEL_VECTORS 4

#define PANEL_FILL     csrmm_avx512_fill_f32
#define PANEL_ROWS     csrmm_avx512_rows_f32
#define PANEL_ROWS_OF  csrmm_avx512_rows_of_f32
#define PANEL_STORE    _mm512_storeu_ps
#define PANEL_ZERO     _mm512_setzero_ps
#define TILE           csrmm_avx512_dot_f32
#define TILE_ONE       csrmm_avx512_one_f32
#define TILE_REAL      float
#define TILE_VECTOR    __m512
#define TILE_LOAD      _mm512_loadu_ps
#define TILE_BROADCAST csrmm_avx512_broadcast_f32
#define TILE_FMA       _mm512_fmadd_ps
#include "csrmm_panel.h"

#define PANEL_FILL     csrmm_avx512_fill_f64
#define PANEL_ROWS     csrmm_avx512_rows_f64
#define PANEL_ROWS_OF  csrmm_avx512_rows_of_f64
#define PANEL_STORE    _mm512_storeu_pd
#define PANEL_ZERO     _mm512_setzero_pd
#define TILE           csrmm_avx512_dot_f64
#define TILE_ONE       csrmm_avx512_one_f64
#define TILE_REAL      double
#define TILE_VECTOR    __m512d
#define TILE_LOAD      _mm512_loadu_pd
#define TILE_BROADCAST csrmm_avx512_broadcast_f64
#define TILE_FMA       _mm512_fmadd_pd
#include "csrmm_panel.h"

PCX_HIDDEN extern const csrmm_micro csrmm_micro_avx512;
const csrmm_micro csrmm_micro_avx512 = {
    .bytes = sizeof(__m512), .vectors = PANEL_VECTORS,
    .fill = { csrmm_avx512_fill_f32, csrmm_avx512_fill_f64 }, .transpose = csrmm_avx2_transpose,
    .rows = { csrmm_avx512_rows_f32, csrmm_avx512_rows_f64 },
    .vector = { csrmm_avx2_vector_f32, csrmm_avx2_vector_f64 },
};

PCX_TARGET_END
#endif
