/*
 * spmm_tile_neon.h - as spmm_tile.h, for floats on NEON.  The panel's numbers are loaded a little before they are used, which
 * CPUs that work in order need, and in this order, so that compilers move nothing up until registers are short.
 *
 *   TILE, TILE_ONE, TILE_SOME  names of the functions
 *   TILE_INDEX                 integer type of a column
 */

/* sum[v] += *w * x[v], nv times eight numbers. */
PCX_INLINE void TILE_ONE(const float *w, const char *x, eight_neon *sum, const int nv)
{
    const float by = *w;
    PCX_UNROLL
    for (int v = 0; v < nv; v++) {
        const eight_neon some = eight_neon_load((const float *)(const void *)x + 8 * v);
        PCX_FMLA_EACH(sum[v].low, some.low, by);
        PCX_FMLA_EACH(sum[v].high, some.high, by);
    }
}

/* sum[v] += w[i] * panel[index[i]][v] for i < count. */
PCX_INLINE void TILE_SOME(const float *w, const TILE_INDEX *index, const char *panel, size_t stride, eight_neon *sum,
                         const int count, const int nv)
{
    enum { ROUND = 4, HALVES = 2, AHEAD = 3, REGISTERS = AHEAD + 1, BYTES = 16 };
    const int each = HALVES * nv, all = count * each;
    const char *x[ROUND];
    float32x4_t v[REGISTERS];
    float by[ROUND];
    PCX_UNROLL
    for (int i = 0; i < count; i++)
        x[i] = panel + (size_t)index[i] * stride;
    PCX_UNROLL
    for (int t = 0; t < AHEAD && t < all; t++)
        PCX_LOAD_4S(v[t], x[t / each] + t % each * BYTES);
    PCX_UNROLL
    for (int row = 0; row < count; row++) {
        PCX_LOAD_S(by[row], w + row);
        PCX_UNROLL
        for (int half = 0; half < each; half++) {
            const int t = row * each + half, next = t + AHEAD;
            if (half % HALVES == 0)
                PCX_FMLA_EACH(sum[half / HALVES].low, v[t % REGISTERS], by[row]);
            else
                PCX_FMLA_EACH(sum[half / HALVES].high, v[t % REGISTERS], by[row]);
            if (next < all)
                PCX_LOAD_4S(v[next % REGISTERS], x[next / each] + next % each * BYTES);
        }
    }
}

/* The same for i in [begin, end). */
PCX_INLINE void TILE(const float *w, const TILE_INDEX *index, size_t begin, size_t end, const char *panel, size_t stride,
                     eight_neon *sum, const int nv)
{
    size_t i = begin;
    for (; i + 4 <= end; i += 4)
        TILE_SOME(w + i, index + i, panel, stride, sum, 4, nv);
    for (; i < end; i++)
        TILE_SOME(w + i, index + i, panel, stride, sum, 1, nv);
}
