/*
 * spmm_tile.h - the inner product of all sparse kernels: a row of W times a panel.  A template, without a guard:
 *
 *   TILE, TILE_ONE  names of the functions
 *   TILE_REAL       float or double
 *   TILE_INDEX      integer type of a column
 *   TILE_VECTOR, TILE_LOAD, TILE_BROADCAST, TILE_FMA   vector of TILE_REAL and what works on it
 */

/* sum[v] += *w * x[v] with nv vectors; x has a register of its own: an address of two costs each FMA a micro-op. */
PCX_INLINE void TILE_ONE(const TILE_REAL *w, const char *x, TILE_VECTOR *sum, const int nv)
{
    const TILE_VECTOR by = TILE_BROADCAST(w);
    PCX_OPAQUE(x);
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        sum[v] = TILE_FMA(by, TILE_LOAD((const TILE_REAL *)(const void *)x + v * (sizeof by / sizeof *w)), sum[v]);
}

/*
 * sum[v] += w[i] * panel[index[i]][v] for i in [begin, end), nv vectors; a row of the panel is `stride` bytes from the
 * next.  Of eight sums none waits for another, which hides the latency of FMA; what limits is then the loads.
 */
PCX_INLINE void TILE(const TILE_REAL *w, const TILE_INDEX *index, size_t begin, size_t end, const char *panel,
                     size_t stride, TILE_VECTOR *sum, const int nv)
{
    size_t i = begin;
    for (; i + 4 <= end; i += 4) {
        TILE_ONE(w + i, panel + (size_t)index[i] * stride, sum, nv);
        TILE_ONE(w + i + 1, panel + (size_t)index[i + 1] * stride, sum, nv);
        TILE_ONE(w + i + 2, panel + (size_t)index[i + 2] * stride, sum, nv);
        TILE_ONE(w + i + 3, panel + (size_t)index[i + 3] * stride, sum, nv);
    }
    for (; i < end; i++)
        TILE_ONE(w + i, panel + (size_t)index[i] * stride, sum, nv);
}

#undef TILE
#undef TILE_ONE
#undef TILE_REAL
#undef TILE_INDEX
#undef TILE_VECTOR
#undef TILE_LOAD
#undef TILE_BROADCAST
#undef TILE_FMA
