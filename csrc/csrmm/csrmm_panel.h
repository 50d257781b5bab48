/*
 * csrmm_panel.h - a panel of columns of x for one type of values.  A template, without a guard:
 *
 *   PANEL_FILL, PANEL_ROWS   names of the functions, and PANEL_ROWS_OF of one behind it
 *   PANEL_STORE, PANEL_ZERO  what stores a vector, and makes one of zeros
 *   PANEL_VECTORS            vectors of a panel, at most: 4 or 8
 *   PANEL_TILE               the inner product's file, if it is not spmm_tile.h
 *   TILE...                  as for spmm_tile.h, but for TILE_INDEX
 *
 * Where PANEL_ROWS is not defined, only PANEL_FILL is made, and the other names stay.
 *
 * The vectors of a panel lie where spmm_back() puts them: where there are as many columns as a vector is long, none is
 * partial.
 */
#define PANEL_LANES (sizeof(TILE_VECTOR) / sizeof(TILE_REAL))

/* to[q][v] = x[q][column + spmm_back(v)]; columns that a lone vector holds beyond the last are zero. */
static void PANEL_FILL(const pcx_csrmm_args *p, size_t column, size_t columns, void *to)
{
    const TILE_REAL *x = (const TILE_REAL *)p->x + column * p->incx;
    TILE_REAL *panel = to;
    const size_t width = round_up(columns, PANEL_LANES);
    for (size_t q = 0; q < p->k; q++, x += p->ldx, panel += width) {
        if (p->incx == 1 && columns >= PANEL_LANES) {
            for (size_t j = 0; j < width; j += PANEL_LANES)
                PANEL_STORE(panel + j, TILE_LOAD(x + spmm_back(j, columns, PANEL_LANES)));
            continue;
        }
        for (size_t j = 0; j < width; j++) {
            const size_t from = spmm_back(j / PANEL_LANES * PANEL_LANES, columns, PANEL_LANES) + j % PANEL_LANES;
            panel[j] = from < columns ? x[from * p->incx] : 0;
        }
    }
}

#ifdef PANEL_ROWS
#ifndef PANEL_TILE
#  define PANEL_TILE "../spmm/spmm_tile.h"
#endif
#include PANEL_TILE

/* Rows [first, last) of W times the panel, nv vectors; out: the first of these rows. */
PCX_INLINE void PANEL_ROWS_OF(const pcx_csrmm_args *p, int own, size_t first, size_t last, const TILE_REAL *panel,
                              TILE_REAL *out, size_t columns, const int nv)
{
    const TILE_REAL *w = p->w;
    int32_t index[CSRMM_CHUNK];
    for (size_t r = first; r < last; r++, out += p->ldo) {
        TILE_VECTOR sum[PANEL_VECTORS];
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[v] = PANEL_ZERO();
        for (size_t i = csrmm_bound(p, r), end = csrmm_bound(p, r + 1); i < end; i += CSRMM_CHUNK) {
            const size_t count = min_size(CSRMM_CHUNK, end - i);
            if (!own)
                csrmm_columns(p, i, count, index);
            TILE(w + i, own ? p->index + i : index, 0, count, (const char *)panel, nv * sizeof *sum, sum, nv);
        }
        PCX_UNROLL
        for (int v = 0; v < nv - 1; v++)
            PANEL_STORE(out + v * PANEL_LANES, sum[v]);
        if (PCX_LIKELY(columns >= PANEL_LANES)) {
            PANEL_STORE(out + columns - PANEL_LANES, sum[nv - 1]);
        } else {
            TILE_REAL part[PANEL_LANES];
            PANEL_STORE(part, sum[nv - 1]);
            memcpy(out, part, columns * sizeof *part);
        }
    }
}

static void PANEL_ROWS(const pcx_csrmm_args *p, int own, size_t first, size_t last, const void *panel, void *out,
                       size_t columns)
{
    switch (ceil_div(columns, PANEL_LANES)) {
    case 1: PANEL_ROWS_OF(p, own, first, last, panel, out, columns, 1); break;
    case 2: PANEL_ROWS_OF(p, own, first, last, panel, out, columns, 2); break;
    case 3: PANEL_ROWS_OF(p, own, first, last, panel, out, columns, 3); break;
    case 4: PANEL_ROWS_OF(p, own, first, last, panel, out, columns, 4); break;
#if PANEL_VECTORS > 4
    case 5: PANEL_ROWS_OF(p, own, first, last, panel, out, columns, 5); break;
    case 6: PANEL_ROWS_OF(p, own, first, last, panel, out, columns, 6); break;
    case 7: PANEL_ROWS_OF(p, own, first, last, panel, out, columns, 7); break;
    case 8: PANEL_ROWS_OF(p, own, first, last, panel, out, columns, 8); break;
#endif
    }
}

#undef PANEL_ROWS
#undef PANEL_ROWS_OF
#undef PANEL_STORE
#undef PANEL_ZERO
#undef PANEL_TILE
#undef TILE
#undef TILE_ONE
#undef TILE_REAL
#undef TILE_VECTOR
#undef TILE_LOAD
#undef TILE_BROADCAST
#undef TILE_FMA
#endif
#undef PANEL_FILL
#undef PANEL_LANES
