/* csrmm_avx2.c - panels of eight vectors of columns of x, copied (or transposed) into scratch: spmm's tile. */
#include "csrmm_vector.h"

#include "../spmm/spmm_transpose.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

#define TILE_INDEX int32_t

#define PANEL_FILL     fill_f32
#define PANEL_ROWS     rows_f32
#define PANEL_ROWS_OF  rows_of_f32
#define PANEL_STORE    _mm256_storeu_ps
#define PANEL_ZERO     _mm256_setzero_ps
#define TILE           dot_f32
#define TILE_ONE       one_f32
#define TILE_REAL      float
#define TILE_VECTOR    __m256
#define TILE_LOAD      _mm256_loadu_ps
#define TILE_BROADCAST _mm256_broadcast_ss
#define TILE_FMA       _mm256_fmadd_ps
#include "csrmm_panel.h"

#define PANEL_FILL     fill_f64
#define PANEL_ROWS     rows_f64
#define PANEL_ROWS_OF  rows_of_f64
#define PANEL_STORE    _mm256_storeu_pd
#define PANEL_ZERO     _mm256_setzero_pd
#define TILE           dot_f64
#define TILE_ONE       one_f64
#define TILE_REAL      double
#define TILE_VECTOR    __m256d
#define TILE_LOAD      _mm256_loadu_pd
#define TILE_BROADCAST _mm256_broadcast_sd
#define TILE_FMA       _mm256_fmadd_pd
#include "csrmm_panel.h"

static csrmm_split csrmm_avx2_split_of(const pcx_csrmm_args *p)
{
    enum { UNITS = 32, MIN = 1 << 16 }; /* wanted units; min. products of one */
    csrmm_split s = { 0 };
    if (!p->n || !p->m)
        return s;
    s.vectors = ceil_div(p->m, sizeof(__m256) / pcx_dtype_bytes(p->t));
    s.panels = ceil_div(s.vectors, CSRMM_VECTORS);
    const size_t columns = ceil_div(p->m, s.panels);
    const size_t worth = max_size(1, p->nnz / MIN * columns + p->nnz % MIN * columns / MIN);
    s.rows = ceil_div(p->n, min_size(ceil_div(UNITS, s.panels), worth));
    s.groups = ceil_div(p->n, s.rows);
    return s;
}

static int csrmm_avx2_is_vector(const pcx_csrmm_args *p) { return p->m == 1 && p->ldx == 1; }

size_t csrmm_units_avx2(const void *args)
{
    const pcx_csrmm_args *p = args;
    const csrmm_split s = csrmm_avx2_split_of(p);
    return p->k > CSRMM_TALL && !csrmm_avx2_is_vector(p) ? p->n : s.panels * s.groups;
}

size_t csrmm_scratch_avx2(const void *args)
{
    const pcx_csrmm_args *p = args;
    const size_t vectors = min_size(CSRMM_VECTORS, ceil_div(p->m, sizeof(__m256) / pcx_dtype_bytes(p->t)));
    return p->k > CSRMM_TALL || csrmm_avx2_is_vector(p) ? 0 : vectors * sizeof(__m256) * p->k;
}

void csrmm_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_csrmm_args *p = args;
    const csrmm_split s = csrmm_avx2_split_of(p);
    const size_t size = pcx_dtype_bytes(p->t), lanes = sizeof(__m256) / size;
    if (csrmm_avx2_is_vector(p)) {
        const size_t last = min_size(end * s.rows, p->n);
        if (p->t == PCX_F64)
            csrmm_vector_f64(p, begin * s.rows, last);
        else
            csrmm_vector_f32(p, begin * s.rows, last);
        return;
    }
    if (p->k > CSRMM_TALL) {
        csrmm_scalar(args, begin, end, scratch);
        return;
    }
    for (size_t unit = begin; unit < end; unit++) {
        const size_t panel = unit / s.groups, less = s.vectors / s.panels, more = s.vectors % s.panels;
        const size_t column = (panel * less + min_size(panel, more)) * lanes;
        const size_t columns = min_size((less + (panel < more)) * lanes, p->m - column);
        const size_t first = unit % s.groups * s.rows, last = min_size(first + s.rows, p->n);
        const int fresh = unit == begin || !first;
        if (p->t == PCX_F64) {
            if (fresh)
                fill_f64(p, column, columns, scratch);
            rows_f64(p, first, last, scratch, (double *)p->out + first * p->ldo + column, columns);
            continue;
        }
        if (fresh && p->ldx == 1)
            spmm_transpose_in((const float *)p->x + column * p->incx, p->incx, columns, lanes, scratch,
                              round_up(columns, lanes), p->k);
        else if (fresh)
            fill_f32(p, column, columns, scratch);
        rows_f32(p, first, last, scratch, (float *)p->out + first * p->ldo + column, columns);
    }
}

PCX_TARGET_END
#endif
