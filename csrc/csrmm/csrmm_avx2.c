/* csrmm_avx2.c - panels of eight vectors of columns of x, copied (or transposed) into scratch: spmm's tile. */
#include "csrmm.h"

#include "../spmm/spmm_transpose.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

#define TILE         dot_f32
#define TILE_ONE     dot_f32_one
#define TILE_REAL    float
#define TILE_INDEX   int32_t
#define TILE_VECTOR  __m256
#define TILE_LOAD    _mm256_loadu_ps
#define TILE_BROADCAST _mm256_broadcast_ss
#define TILE_FMA     _mm256_fmadd_ps
#include "../spmm/spmm_tile.h"

#define TILE         dot_f64
#define TILE_ONE     dot_f64_one
#define TILE_REAL    double
#define TILE_INDEX   int32_t
#define TILE_VECTOR  __m256d
#define TILE_LOAD    _mm256_loadu_pd
#define TILE_BROADCAST _mm256_broadcast_sd
#define TILE_FMA     _mm256_fmadd_pd
#include "../spmm/spmm_tile.h"

/* Rows [first, last) of out, `columns` of them from `out` on, of nv vectors of sums. */
#define ROWS(type, real, vector, zero, store) \
    PCX_INLINE void rows_##type(const pcx_csrmm_args *p, size_t first, size_t last, const char *panel, real *out, \
                                size_t columns, const int nv) \
    { \
        enum { LANES = sizeof(vector) / sizeof(real) }; \
        for (size_t r = first; r < last; r++, out += p->ldo) { \
            vector sum[CSRMM_VECTORS]; \
            PCX_UNROLL \
            for (int v = 0; v < nv; v++) \
                sum[v] = zero(); \
            dot_##type(p->w, p->index, (size_t)p->rows[r], (size_t)p->rows[r + 1], panel, nv * sizeof(vector), sum, nv); \
            PCX_UNROLL \
            for (int v = 0; v < nv - 1; v++) \
                store(out + v * LANES, sum[v]); \
            if (columns == (size_t)nv * LANES) { \
                store(out + (nv - 1) * LANES, sum[nv - 1]); \
            } else { \
                real part[LANES]; \
                store(part, sum[nv - 1]); \
                memcpy(out + (nv - 1) * LANES, part, (columns - (size_t)(nv - 1) * LANES) * sizeof *part); \
            } \
        } \
    } \
    PCX_NOINLINE static void panel_##type(const pcx_csrmm_args *p, size_t first, size_t last, const char *panel, \
                                          real *out, size_t columns) \
    { \
        switch (ceil_div(columns, sizeof(vector) / sizeof(real))) { \
        case 1: rows_##type(p, first, last, panel, out, columns, 1); break; \
        case 2: rows_##type(p, first, last, panel, out, columns, 2); break; \
        case 3: rows_##type(p, first, last, panel, out, columns, 3); break; \
        case 4: rows_##type(p, first, last, panel, out, columns, 4); break; \
        case 5: rows_##type(p, first, last, panel, out, columns, 5); break; \
        case 6: rows_##type(p, first, last, panel, out, columns, 6); break; \
        case 7: rows_##type(p, first, last, panel, out, columns, 7); break; \
        case 8: rows_##type(p, first, last, panel, out, columns, 8); break; \
        } \
    }
ROWS(f32, float, __m256, _mm256_setzero_ps, _mm256_storeu_ps)
ROWS(f64, double, __m256d, _mm256_setzero_pd, _mm256_storeu_pd)

/* panel[q][j] = x[q][column + j], j < columns; what a vector holds beyond them is zero. */
static void fill(const pcx_csrmm_args *p, size_t column, size_t columns, char *panel)
{
    const size_t size = pcx_dtype_bytes(p->t), width = round_up(columns * size, sizeof(__m256));
    const char *x = (const char *)p->x + column * p->incx * size;
    if (p->ldx == 1 && size == sizeof(float)) {
        transpose_in((const void *)x, p->incx, columns, (void *)panel, width / size, p->k);
        return;
    }
    for (size_t q = 0; q < p->k; q++, x += p->ldx * size, panel += width) {
        if (p->incx == 1)
            memcpy(panel, x, columns * size);
        else if (size == sizeof(float))
            for (size_t j = 0; j < columns; j++)
                memcpy(panel + j * sizeof(float), x + j * p->incx * sizeof(float), sizeof(float));
        else
            for (size_t j = 0; j < columns; j++)
                memcpy(panel + j * sizeof(double), x + j * p->incx * sizeof(double), sizeof(double));
        memset(panel + columns * size, 0, width - columns * size);
    }
}

static csrmm_split split_of(const pcx_csrmm_args *p)
{
    enum { UNITS = 32, LEAST = 1 << 16 }; /* wanted units; least products of one */
    csrmm_split s = { 0 };
    if (!p->n || !p->m)
        return s;
    s.vectors = ceil_div(p->m, sizeof(__m256) / pcx_dtype_bytes(p->t));
    s.panels = ceil_div(s.vectors, CSRMM_VECTORS);
    const size_t columns = ceil_div(p->m, s.panels);
    const size_t worth = max_size(1, p->nnz / LEAST * columns + p->nnz % LEAST * columns / LEAST);
    s.rows = ceil_div(p->n, min_size(ceil_div(UNITS, s.panels), worth));
    s.groups = ceil_div(p->n, s.rows);
    return s;
}

size_t csrmm_units_avx2(const void *args)
{
    const pcx_csrmm_args *p = args;
    const csrmm_split s = split_of(p);
    return p->k > CSRMM_TALL ? p->n : s.panels * s.groups;
}

size_t csrmm_scratch_avx2(const void *args)
{
    const pcx_csrmm_args *p = args;
    const size_t vectors = min_size(CSRMM_VECTORS, ceil_div(p->m, sizeof(__m256) / pcx_dtype_bytes(p->t)));
    return p->k > CSRMM_TALL ? 0 : vectors * sizeof(__m256) * p->k;
}

void csrmm_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_csrmm_args *p = args;
    const csrmm_split s = split_of(p);
    const size_t size = pcx_dtype_bytes(p->t), lanes = sizeof(__m256) / size;
    if (p->k > CSRMM_TALL) {
        csrmm_scalar(args, begin, end, scratch);
        return;
    }
    for (size_t unit = begin; unit < end; unit++) {
        const size_t panel = unit / s.groups, less = s.vectors / s.panels, more = s.vectors % s.panels;
        const size_t column = (panel * less + min_size(panel, more)) * lanes;
        const size_t columns = min_size((less + (panel < more)) * lanes, p->m - column);
        const size_t first = unit % s.groups * s.rows, last = min_size(first + s.rows, p->n);
        if (unit == begin || !first)
            fill(p, column, columns, scratch);
        if (p->t == PCX_F32)
            panel_f32(p, first, last, scratch, (float *)p->out + first * p->ldo + column, columns);
        else
            panel_f64(p, first, last, scratch, (double *)p->out + first * p->ldo + column, columns);
    }
}

PCX_TARGET_END
#endif
