/*
 * bspmm_avx512.c - tiles of up to 16 rows x 1 panel: of each block, a vector of weights, which the rows' numbers meet
 * as broadcast operands of FMA.  Sums go through memory to the epilogue, so that the functions for each number of rows
 * need not contain it.
 */
#include "bspmm.h"

#include "../common/act_avx2.h"

#if PCX_X86

PCX_TARGET(PCX_TARGET_AVX512)

enum { BSPMM_V_ROWS = 16 };

/* to[mr][16] = bias + mr rows, lda apart, times the `count` blocks of a panel. */
PCX_INLINE void bspmm_avx512_tile(const int mr, const float *a, size_t lda, const uint16_t *index, const float *w,
                                  size_t count, __m512 bias, float *to)
{
    __m512 sum[BSPMM_V_ROWS];
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        sum[i] = bias;
    for (; count; count--, index++, w += SGEMM_NR) {
        const __m512 b = _mm512_loadu_ps(w);
        const float *x = a + *index;
        PCX_UNROLL
        for (int i = 0; i < mr; i++) { /* rows at x + {0, 1, 2} lda: that takes few registers */
            PCX_FMADD_EACH(sum[i], x[(size_t)(i % 3) * lda], b);
            if (i % 3 == 2 && i + 1 < mr) {
                x += 3 * lda;
                PCX_OPAQUE(x);
            }
        }
    }
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        _mm512_store_ps(to + i * SGEMM_NR, sum[i]);
}

#define ALL(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16)
#define TILE(mr) \
    PCX_NOINLINE static void bspmm_avx512_tile_##mr(const float *a, size_t lda, const uint16_t *index, const float *w, \
                                                    size_t count, __m512 bias, float *to) \
    { \
        bspmm_avx512_tile(mr, a, lda, index, w, count, bias, to); \
    }
#define NAME(mr) [mr] = bspmm_avx512_tile_##mr,
ALL(TILE)
static void (*const bspmm_avx512_tiles[])(const float *a, size_t lda, const uint16_t *index, const float *w,
                                          size_t count, __m512 bias, float *to) = { ALL(NAME) };
#undef ALL
#undef TILE
#undef NAME

PCX_NOINLINE static void bspmm_avx512_activate(float *sum, size_t count, const pcx_epilogue *tail)
{
    act_avx2_row(sum, sum, count, tail->act, tail->act_params);
}

/* `count` rows of sums, from row `first` on, to the columns of `some` from `column` on. */
static void bspmm_avx512_finish(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, size_t count, size_t column,
                                __mmask16 some, float *sum)
{
    const pcx_epilogue *tail = &p->tail;
    float bounds[2];
    for (size_t i = 0; tail->residual && i < count; i++) {
        const __m512 residual = _mm512_maskz_loadu_ps(some, r->residual[first + i] + column);
        _mm512_store_ps(sum + i * SGEMM_NR, _mm512_add_ps(_mm512_load_ps(sum + i * SGEMM_NR), residual));
    }
    if (tail->act > PCX_ACT_CLIP)
        bspmm_avx512_activate(sum, count * SGEMM_NR, tail);
    act_bounds(tail->act, tail->act_params, bounds, bounds + 1);
    const __m512 low = _mm512_set1_ps(bounds[0]), high = _mm512_set1_ps(bounds[1]);
    for (size_t i = 0; i < count; i++) { /* max and min return their second argument if one is NaN */
        const __m512 y = _mm512_min_ps(high, _mm512_max_ps(low, _mm512_load_ps(sum + i * SGEMM_NR)));
        _mm512_mask_storeu_ps(r->out[first + i] + column, some, y);
    }
}

static void bspmm_avx512_run(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, size_t count, size_t begin,
                             size_t end, int half)
{
    _Alignas(64) float sum[BSPMM_V_ROWS * SGEMM_NR];
    (void)half;
    for (size_t panel = begin; panel < end; panel++) {
        const size_t column = panel * SGEMM_NR, block = (size_t)p->rows[panel];
        const __mmask16 some = (__mmask16)(0xffff >> (SGEMM_NR - min_size(SGEMM_NR, p->n - column)));
        const __m512 bias = p->tail.bias ? _mm512_maskz_loadu_ps(some, p->tail.bias + column) : _mm512_setzero_ps();
        bspmm_avx512_tiles[count](r->a[first], p->lda, p->index + block, p->w + block * SGEMM_NR,
                                  bspmm_blocks(p->rows + panel), bias, sum);
        bspmm_avx512_finish(p, r, first, count, column, some, sum);
    }
}

PCX_HIDDEN extern const bspmm_micro bspmm_micro_avx512;
const bspmm_micro bspmm_micro_avx512 = { BSPMM_V_ROWS, bspmm_avx512_run };

PCX_TARGET_END
#endif
