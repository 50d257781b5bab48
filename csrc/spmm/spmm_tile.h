/*
 * spmm_tile.h - the inner product of all sparse kernels: a row of W times a panel.  A template, without a guard:
 *
 *   TILE            name of the function
 *   TILE_REAL       float or double
 *   TILE_INDEX      integer type of a column
 *   TILE_VECTOR, TILE_LOAD, TILE_BROADCAST, TILE_FMA   vector of TILE_REAL and what works on it
 */

/*
 * sum[v] += w[i] * panel[index[i]][v] for i in [begin, end), nv vectors; a row of the panel is `stride` bytes from the
 * next.  Of eight sums none waits for another, which hides the latency of FMA.
 */
PCX_INLINE void TILE(const TILE_REAL *w, const TILE_INDEX *index, size_t begin, size_t end, const char *panel,
                     size_t stride, TILE_VECTOR *sum, const int nv)
{
    for (size_t i = begin; i < end; i++) {
        const TILE_REAL *x = (const void *)(panel + (size_t)index[i] * stride);
        const TILE_VECTOR by = TILE_BROADCAST(w + i);
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[v] = TILE_FMA(by, TILE_LOAD(x + v * (sizeof(TILE_VECTOR) / sizeof *x)), sum[v]);
    }
}

#undef TILE
#undef TILE_REAL
#undef TILE_INDEX
#undef TILE_VECTOR
#undef TILE_LOAD
#undef TILE_BROADCAST
#undef TILE_FMA
