/*
 * sgemm_tile_avx512.h - tiles of up to 24 sums of 512 bits, a panel a vector, for weights of any type: sgemm and hgemm.
 * With up to four weights and a broadcast they fill the 32 registers.  Every output is one sum along k: AVX2's bytes.
 */
#ifndef PCX_SGEMM_TILE_AVX512_H
#define PCX_SGEMM_TILE_AVX512_H

#include "sgemm.h"

#include "../common/act_avx512.h"

#if PCX_X86
#include <immintrin.h>

enum {
    SGEMM_TILE_WIDE = 4,     /* panels of a tile, at most */
    SGEMM_TILE_ROWS = 10,    /* rows of one, at most: with more, addresses do not fit the registers */
    SGEMM_TILE_SUMS = 24,    /* sums of one, vectors */
    SGEMM_TILE_ROUND = 4,    /* steps of a round */
    SGEMM_TILE_LINE = 64,    /* bytes of a line of the cache */
    SGEMM_TILE_FETCH = 128,  /* bytes fetched in a round */
    SGEMM_TILE_AHEAD = 2048, /* bytes from where weights of 16 bits are read to where they are fetched */
};

/* What is fetched into L2 in a round, and how far the next round's lies from it: 0 where nothing is to be fetched. */
typedef struct {
    const char *next;
    size_t step;
} sgemm_fetch;

/* Where a tile's sums begin: at from[panels][SGEMM_NR], that of the next row `step` numbers on. */
typedef struct {
    const float *from;
    size_t step;
} sgemm_start;

/* `tiles` times so many rows as the tile has, from `first` on, times its panels from `panel` on. */
typedef void sgemm_tile(const sgemm_rows *r, size_t first, size_t tiles, const sgemm_target *to, size_t panel,
                        sgemm_start start);

/* The tiles of a type of weights. */
typedef struct {
    size_t bytes;                     /* of a weight */
    size_t tall[SGEMM_TILE_WIDE + 1]; /* rows of a tile, at most, by its panels; 0: there is none of so many panels */
    sgemm_tile *const *tile[SGEMM_TILE_WIDE + 1]; /* by its panels and rows */
} sgemm_shapes;

/* sgemm_avx512.c: all rows times the panels [begin, end), `wide` at a time at most. */
PCX_HIDDEN void sgemm_shapes_avx512(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end, size_t wide,
                                    const sgemm_shapes *shapes);

/* out = act(sum + residual): `count` rows from `first` on, at most `width` columns, whole panels, from `column` on. */
PCX_HIDDEN void sgemm_finish_avx512(const sgemm_rows *r, size_t first, size_t count, const sgemm_target *to,
                                    size_t column, float *sum, size_t width);

PCX_TARGET(PCX_TARGET_AVX512)

/* Weights of a step of a panel. */
PCX_INLINE __m512 sgemm_tile_weights(const char *w, const sgemm_weights type)
{
    if (type == SGEMM_F32)
        return _mm512_loadu_ps(w);
    _mm_prefetch(w + SGEMM_TILE_AHEAD, _MM_HINT_T0); /* beyond a panel the next one begins */
    const __m256i bits = _mm256_loadu_si256((const __m256i *)(const void *)w);
    return type == SGEMM_F16 ? _mm512_cvtph_ps(bits)
                             : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

/* One number of each row, `ahead` from `at`, times that step of the panels. */
PCX_INLINE void sgemm_tile_step(const float *const *a, const char *b, size_t ldw, size_t at, const int ahead,
                                __m512 sum[][SGEMM_TILE_WIDE], const int mr, const int np, const sgemm_weights type)
{
    const size_t step = SGEMM_NR * (type == SGEMM_F32 ? sizeof(float) : sizeof(uint16_t));
    __m512 weight[SGEMM_TILE_WIDE];
    PCX_UNROLL
    for (int v = 0; v < np; v++)
        weight[v] = sgemm_tile_weights(b + (size_t)ahead * step + (size_t)v * ldw, type);
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        const __m512 x = _mm512_set1_ps(a[i][at + (size_t)ahead]);
        PCX_UNROLL
        for (int v = 0; v < np; v++)
            PCX_FMADD(sum[i][v], x, weight[v]);
    }
}

/*
 * `length` numbers of each row from `at` on: one index and fixed rows, not a pointer for each.  w moves on.  Four steps a
 * round, because counting takes ports that multiply.
 */
PCX_INLINE void sgemm_tile_run(const float *const *a, const char **w, size_t ldw, size_t at, size_t length,
                               sgemm_fetch *fetch, __m512 sum[][SGEMM_TILE_WIDE], const int mr, const int np,
                               const sgemm_weights type)
{
    const size_t step = SGEMM_NR * (type == SGEMM_F32 ? sizeof(float) : sizeof(uint16_t)), end = at + length;
    const char *b = *w, *next = fetch->next;
    for (; at + SGEMM_TILE_ROUND <= end; at += SGEMM_TILE_ROUND, b += SGEMM_TILE_ROUND * step) {
        PCX_OPAQUE(at);
        PCX_UNROLL
        for (int q = 0; q < SGEMM_TILE_ROUND; q++) {
            if (type == SGEMM_F32 && mr > 1 && q * SGEMM_TILE_LINE < SGEMM_TILE_FETCH)
                _mm_prefetch(next + q * SGEMM_TILE_LINE, _MM_HINT_T1);
            sgemm_tile_step(a, b, ldw, at, q, sum, mr, np, type);
        }
        if (type == SGEMM_F32)
            next += fetch->step;
    }
    for (; at < end; at++, b += step) {
        PCX_OPAQUE(at);
        sgemm_tile_step(a, b, ldw, at, 0, sum, mr, np, type);
    }
    *w = b;
    fetch->next = next;
}

/*
 * What a tile fetches: a part of the panels that follow its own, if they are there and nothing was multiplied by them before.
 * Weights of most networks lie in L3, which delivers less than tiles read, but more than all tiles of a block need.  A single
 * row reads as fast as L3 delivers anyway.
 */
PCX_INLINE sgemm_fetch sgemm_tile_fetch(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t panel,
                                        size_t ldw, const int mr, const int np)
{
    enum { PARTS = SGEMM_TILE_ROUND * SGEMM_TILE_LINE / SGEMM_TILE_FETCH }; /* tiles that fetch a panel */
    const size_t part = first / (size_t)mr, from = panel + (size_t)np, panels = ceil_div(to->n, SGEMM_NR);
    if (mr == 1 || !r->fresh || from >= panels || part >= PARTS * min_size((size_t)np, panels - from))
        return (sgemm_fetch){ (const char *)r->a[first], 0 };
    return (sgemm_fetch){ (const char *)to->w + from * ldw + part * (ldw / PARTS), SGEMM_TILE_FETCH };
}

/* sum[mr][np] = act(sum + residual) in registers; `last`: which columns of the last panel are there. */
PCX_INLINE void sgemm_tile_finish(const sgemm_rows *r, size_t first, const pcx_epilogue *tail, size_t column,
                                  __mmask16 last, __m512 sum[][SGEMM_TILE_WIDE], const int mr, const int np)
{
    if (tail->residual) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            const float *const residual = r->residual[first + i] + column;
            PCX_UNROLL
            for (int v = 0; v < np - 1; v++)
                sum[i][v] = _mm512_add_ps(sum[i][v], _mm512_loadu_ps(residual + v * SGEMM_NR));
            const __m512 rest = _mm512_maskz_loadu_ps(last, residual + (np - 1) * SGEMM_NR);
            sum[i][np - 1] = _mm512_add_ps(sum[i][np - 1], rest);
        }
    }
    if (tail->act == PCX_ACT_HARDSWISH) {
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < np; v++)
                sum[i][v] = act_avx512_apply(sum[i][v], PCX_ACT_HARDSWISH, NULL);
        }
    } else if (tail->act) {
        float bounds[2];
        act_bounds(tail->act, tail->act_params, bounds, bounds + 1);
        const __m512 low = _mm512_set1_ps(bounds[0]), high = _mm512_set1_ps(bounds[1]);
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < np; v++) /* max and min return their second argument if one is NaN */
                sum[i][v] = _mm512_min_ps(high, _mm512_max_ps(low, sum[i][v]));
        }
    }
}

/* A tile's sums are in registers; those of activations that need more of these go through memory. */
PCX_INLINE void sgemm_tile_out(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t column, __mmask16 last,
                               __m512 sum[][SGEMM_TILE_WIDE], const int mr, const int np)
{
    const pcx_epilogue *const tail = to->tail;
    if (!PCX_LIKELY(tail->act <= PCX_ACT_CLIP || tail->act == PCX_ACT_HARDSWISH)) {
        float all[SGEMM_TILE_SUMS * SGEMM_NR];
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < np; v++)
                _mm512_storeu_ps(all + (i * np + v) * SGEMM_NR, sum[i][v]);
        }
        sgemm_finish_avx512(r, first, (size_t)mr, to, column, all, (size_t)np * SGEMM_NR);
        return;
    }
    sgemm_tile_finish(r, first, tail, column, last, sum, mr, np);
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        float *const out = r->out[first + i] + column;
        PCX_UNROLL
        for (int v = 0; v < np - 1; v++)
            _mm512_storeu_ps(out + v * SGEMM_NR, sum[i][v]);
        _mm512_mask_storeu_ps(out + (np - 1) * SGEMM_NR, last, sum[i][np - 1]);
    }
}

/* A sgemm_tile of mr rows and np panels. */
PCX_INLINE void sgemm_tile_of(const sgemm_rows *r, size_t first, size_t tiles, const sgemm_target *to, size_t panel,
                              sgemm_start start, const int mr, const int np, const sgemm_weights type)
{
    const size_t ldw = to->ldw * (type == SGEMM_F32 ? sizeof(float) : sizeof(uint16_t)), column = panel * SGEMM_NR;
    const size_t columns = min_size((size_t)np * SGEMM_NR, to->n - column);
    const __mmask16 last = (__mmask16)(0xffff >> ((size_t)np * SGEMM_NR - columns));
    for (; tiles; tiles--, first += (size_t)mr) {
        const char *w = (const char *)to->w + panel * ldw;
        const float *a[SGEMM_TILE_ROWS];
        __m512 sum[SGEMM_TILE_ROWS][SGEMM_TILE_WIDE];
        const float *from = start.from;
        PCX_UNROLL
        for (int i = 0; i < mr; i++, from += start.step) {
            PCX_OPAQUE(from); /* no address is computed in advance */
            PCX_UNROLL
            for (int v = 0; v < np; v++)
                sum[i][v] = _mm512_loadu_ps(from + v * SGEMM_NR);
        }
        PCX_UNROLL
        for (int i = 0; i < mr; i++)
            a[i] = r->a[first + i];
        sgemm_fetch fetch = sgemm_tile_fetch(r, first, to, panel, ldw, mr, np);
        size_t at = 0;
        for (size_t i = r->lines; i; i--, at += r->line_step - r->runs * r->run_step)
            for (size_t j = r->runs; j; j--, at += r->run_step)
                sgemm_tile_run(a, &w, ldw, at, r->length, &fetch, sum, mr, np, type);
        sgemm_tile_out(r, first, to, column, last, sum, mr, np);
    }
}

#define SGEMM_TILE(stem, type, mr, np) \
    PCX_NOINLINE static void stem##_##mr##x##np(const sgemm_rows *r, size_t first, size_t tiles, \
                                                const sgemm_target *to, size_t panel, sgemm_start start) \
    { \
        sgemm_tile_of(r, first, tiles, to, panel, start, mr, np, type); \
    }
#define SGEMM_TILES_6(stem, type, np) \
    SGEMM_TILE(stem, type, 1, np) SGEMM_TILE(stem, type, 2, np) SGEMM_TILE(stem, type, 3, np) \
    SGEMM_TILE(stem, type, 4, np) SGEMM_TILE(stem, type, 5, np) SGEMM_TILE(stem, type, 6, np)
#define SGEMM_TILES_8(stem, type, np) \
    SGEMM_TILES_6(stem, type, np) SGEMM_TILE(stem, type, 7, np) SGEMM_TILE(stem, type, 8, np)
#define SGEMM_TILES_10(stem, type, np) \
    SGEMM_TILES_8(stem, type, np) SGEMM_TILE(stem, type, 9, np) SGEMM_TILE(stem, type, 10, np)
#define SGEMM_LIST_6(stem, np) \
    NULL, stem##_1x##np, stem##_2x##np, stem##_3x##np, stem##_4x##np, stem##_5x##np, stem##_6x##np
#define SGEMM_LIST_8(stem, np) SGEMM_LIST_6(stem, np), stem##_7x##np, stem##_8x##np
#define SGEMM_LIST_10(stem, np) SGEMM_LIST_8(stem, np), stem##_9x##np, stem##_10x##np

PCX_TARGET_END
#endif
#endif
