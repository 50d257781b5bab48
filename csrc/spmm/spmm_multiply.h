/*
 * spmm_multiply.h - rows of w times a panel, in registers.  A template, included once in a file, which defines
 *
 *   SPMM(name)                 names of the functions
 *   SPMM_VECTOR, SPMM_LOAD, SPMM_STORE, SPMM_BROADCAST, SPMM_FMA, SPMM_ADD, SPMM_MIN, SPMM_MAX   vector of floats
 *
 *   SPMM_TILE                  the inner product's file, if it is not spmm_tile.h
 *
 * and makes SPMM(by_vectors), a table for spmm_micro.
 */
#define TILE           SPMM(dot)
#define TILE_ONE       SPMM(dot_one)
#define TILE_REAL      float
#define TILE_INDEX     uint16_t
#define TILE_VECTOR    SPMM_VECTOR
#define TILE_LOAD      SPMM_LOAD
#define TILE_BROADCAST SPMM_BROADCAST
#define TILE_FMA       SPMM_FMA
#ifndef SPMM_TILE
#  define SPMM_TILE "spmm_tile.h"
#endif
#include SPMM_TILE

enum { SPMM_LANES = sizeof(SPMM_VECTOR) / sizeof(float) };

/* Part `part` of `parts`. */
PCX_INLINE void SPMM(fetch)(const spmm_ahead *to, size_t part, size_t parts)
{
    enum { LINE = 64 };
    for (size_t i = part; i < to->pixels; i += parts)
        for (size_t c = 0; c < to->columns; c += LINE / sizeof *to->out)
            PCX_FETCH(to->out + i * to->ldo + c, 1);
    for (size_t i = part * LINE; i < to->bytes; i += parts * LINE)
        PCX_FETCH(to->next + i, 2);
}

/* Row r of w to its channel. */
PCX_INLINE void SPMM(put)(const pcx_spmm_args *p, const spmm_chw *to, size_t r, const SPMM_VECTOR *sum, const int nv)
{
    float *out = to->out + r * p->ldc;
    const float *residual = to->residual ? to->residual + r * p->lds : NULL;
    const SPMM_VECTOR low = SPMM_BROADCAST(&to->low), high = SPMM_BROADCAST(&to->high);
    PCX_UNROLL
    for (int v = 0; v < nv; v++) { /* max and min return their second argument if one is NaN */
        const size_t at = v + 1 < nv ? (size_t)v * SPMM_LANES : to->last;
        const SPMM_VECTOR y = residual ? SPMM_ADD(sum[v], SPMM_LOAD(residual + at)) : sum[v];
        SPMM_STORE(out + at, SPMM_MIN(high, SPMM_MAX(low, y)));
    }
}

/* As spmm_multiply_fn, from a panel whose channels are `stride` bytes apart. */
PCX_INLINE void SPMM(multiply)(const pcx_spmm_args *p, size_t slice, size_t first, size_t last, const char *panel,
                               const size_t stride, float *sums, const spmm_ahead *ahead, const spmm_chw *to,
                               const int nv)
{
    static const float zero;
    const int32_t *rows = p->rows + slice * (p->n + 1);
    const uint16_t *index = p->index;
    const float *w = p->w, *bias = p->tail.bias;
    for (size_t r = first; r < last; r++, sums += nv * SPMM_LANES) {
        SPMM_VECTOR sum[SPMM_VECTORS];
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[v] = slice ? SPMM_LOAD(sums + v * SPMM_LANES) : SPMM_BROADCAST(bias ? bias + r : &zero);
        if (!slice)
            SPMM(fetch)(ahead, r - first, last - first);
        SPMM(dot)(w, index, (size_t)rows[r], (size_t)rows[r + 1], panel, stride, sum, nv);
        if (to) {
            SPMM(put)(p, to, r, sum, nv);
            continue;
        }
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            SPMM_STORE(sums + v * SPMM_LANES, sum[v]);
    }
}

/* One vector of pixels: four rows of w at a time, as a single sum would wait for each FMA. */
PCX_NOINLINE static void SPMM(multiply_1)(const pcx_spmm_args *p, size_t slice, size_t first, size_t last,
                                          const spmm_panel *from, float *sums, const spmm_ahead *ahead,
                                          const spmm_chw *none)
{
    enum { ROWS = 4, STRIDE = sizeof(SPMM_VECTOR) };
    static const float zero;
    const int32_t *rows = p->rows + slice * (p->n + 1);
    const uint16_t *index = p->index;
    const float *w = p->w;
    const char *panel = from->at;
    size_t r = first;
    for (; r + ROWS <= last; r += ROWS, sums += ROWS * SPMM_LANES) {
        SPMM_VECTOR sum[ROWS];
        size_t at[ROWS], together = SIZE_MAX;
        PCX_UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            sum[i] = slice ? SPMM_LOAD(sums + i * SPMM_LANES)
                           : SPMM_BROADCAST(p->tail.bias ? p->tail.bias + r + i : &zero);
            at[i] = (size_t)rows[r + i];
            together = min_size(together, max_size((size_t)rows[r + i + 1], at[i]) - at[i]);
        }
        for (size_t q = 0; q < together; q++) {
            PCX_UNROLL
            for (int i = 0; i < ROWS; i++, at[i - 1]++)
                SPMM(dot_one)(w + at[i], panel + index[at[i]] * STRIDE, sum + i, 1);
        }
        PCX_UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            SPMM(dot)(w, index, at[i], (size_t)rows[r + i + 1], panel, STRIDE, sum + i, 1);
            SPMM_STORE(sums + i * SPMM_LANES, sum[i]);
        }
    }
    SPMM(multiply)(p, slice, r, last, panel, STRIDE, sums, ahead, none, 1);
}

#define MULTIPLY(nv) \
    PCX_NOINLINE static void SPMM(multiply_##nv)(const pcx_spmm_args *p, size_t slice, size_t first, size_t last, \
                                                 const spmm_panel *from, float *sums, const spmm_ahead *ahead, \
                                                 const spmm_chw *to) \
    { \
        if (from->stride == nv * sizeof(SPMM_VECTOR)) /* known to the compiler, it is a shift */ \
            SPMM(multiply)(p, slice, first, last, from->at, nv * sizeof(SPMM_VECTOR), sums, ahead, to, nv); \
        else \
            SPMM(multiply)(p, slice, first, last, from->at, from->stride, sums, ahead, to, nv); \
    }
MULTIPLY(2) MULTIPLY(3) MULTIPLY(4) MULTIPLY(5) MULTIPLY(6) MULTIPLY(7) MULTIPLY(8)
#undef MULTIPLY

static spmm_multiply_fn *const SPMM(by_vectors)[] = { NULL,
                                                      SPMM(multiply_1),
                                                      SPMM(multiply_2),
                                                      SPMM(multiply_3),
                                                      SPMM(multiply_4),
                                                      SPMM(multiply_5),
                                                      SPMM(multiply_6),
                                                      SPMM(multiply_7),
                                                      SPMM(multiply_8) };
