/* bspmm_avx2.c - sgemm's tile of 6 rows x 16 columns; the k come from `index`, a different number for each panel. */
#include "bspmm.h"

#include "../sgemm/sgemm_finish_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

/* `count` blocks: the numbers of mr rows at the k that `index` lists times nv vectors of weights each. */
PCX_INLINE void bspmm_avx2_steps(const float *const *a, const uint16_t *index, const float *w, __m256 sum[][MAX],
                                 const int count, const int mr, const int nv)
{
    for (int q = 0; q < count; q++) {
        const size_t at = index[q];
        __m256 b[2];
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            b[v] = _mm256_loadu_ps(w + q * SGEMM_NR + v * LANES);
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            const __m256 x = _mm256_broadcast_ss(a[i] + at);
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                PCX_FMADD(sum[i][v], x, b[v]);
        }
    }
}

/* A strip: mr rows from `first` on times the panels [begin, end), of each its first nv vectors of columns. */
PCX_INLINE void bspmm_avx2_strip(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, size_t begin, size_t end,
                                 const int mr, const int nv)
{
    static const float zeros[2 * LANES];
    const pcx_epilogue tail = p->tail;
    const sgemm_target to = { NULL, 0, p->n, &p->tail };
    const size_t width = (size_t)nv * LANES;
    const int how = sgemm_finish_kind(tail.act);
    const float *const *residual = tail.residual ? r->residual + first : NULL, *a[SGEMM_TALL];
    float bounds[2], part[SGEMM_TALL * 2 * LANES];
    act_bounds(tail.act, tail.act_params, bounds, bounds + 1);
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        a[i] = r->a[first + i];
    for (size_t panel = begin; panel < end; panel++) {
        const size_t column = panel * SGEMM_NR, block = (size_t)p->rows[panel];
        const uint16_t *index = p->index + block, *stop = index + bspmm_blocks(p->rows + panel);
        const float *w = p->w + block * SGEMM_NR, *bias = tail.bias ? tail.bias + column : zeros;
        if (!PCX_LIKELY(column + width <= p->n) && tail.bias) {
            memset(part, 0, sizeof part);
            bias = memcpy(part, bias, (p->n - column) * sizeof *part);
        }
        __m256 sum[SGEMM_TALL][MAX];
        PCX_UNROLL
        for (int v = 0; v < nv; v++) {
            PCX_UNROLL
            for (int i = 0; i < mr; i++) {
                sum[i][v] = _mm256_loadu_ps(bias + v * LANES);
                PCX_KEEP(sum[i][v]); /* copied now, not in the loop */
            }
        }
        for (; stop - index >= 4; index += 4, w += 4 * SGEMM_NR)
            bspmm_avx2_steps(a, index, w, sum, 4, mr, nv);
        for (; index < stop; index++, w += SGEMM_NR)
            bspmm_avx2_steps(a, index, w, sum, 1, mr, nv);
        if (!PCX_LIKELY(column + width <= p->n && how != SLOW)) {
            PCX_UNROLL
            for (int i = 0; i < mr; i++) {
                PCX_UNROLL
                for (int v = 0; v < nv; v++)
                    _mm256_storeu_ps(part + (i * nv + v) * LANES, sum[i][v]);
            }
            sgemm_finish_slowly(r, first, &to, column, part, mr, width);
            continue;
        }
        sgemm_finish_tile(sum, residual, column, how, bounds, mr, nv);
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                _mm256_storeu_ps(r->out[first + i] + column + v * LANES, sum[i][v]);
        }
    }
}

#define STRIP(mr, nv) \
    PCX_NOINLINE static void bspmm_avx2_strip_##mr##x##nv(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, \
                                               size_t begin, size_t end) \
    { \
        bspmm_avx2_strip(p, r, first, begin, end, mr, nv); \
    }
STRIP(1, 2) STRIP(2, 2) STRIP(3, 2) STRIP(4, 2) STRIP(5, 2) STRIP(6, 2)
STRIP(1, 1) STRIP(2, 1) STRIP(3, 1) STRIP(4, 1) STRIP(5, 1) STRIP(6, 1)

typedef void strip_fn(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, size_t begin, size_t end);
static strip_fn *const strips[][1 + SGEMM_TALL] = {
    { NULL, bspmm_avx2_strip_1x2, bspmm_avx2_strip_2x2, bspmm_avx2_strip_3x2, bspmm_avx2_strip_4x2,
      bspmm_avx2_strip_5x2, bspmm_avx2_strip_6x2 },
    { NULL, bspmm_avx2_strip_1x1, bspmm_avx2_strip_2x1, bspmm_avx2_strip_3x1, bspmm_avx2_strip_4x1,
      bspmm_avx2_strip_5x1, bspmm_avx2_strip_6x1 }, /* the last panel's first half */
};

static void bspmm_avx2_run(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, size_t count, size_t begin,
                           size_t end, int half)
{
    strips[half][count](p, r, first, begin, end);
}

PCX_HIDDEN extern const bspmm_micro bspmm_micro_avx2;
const bspmm_micro bspmm_micro_avx2 = { SGEMM_TALL, bspmm_avx2_run };

PCX_TARGET_END
#endif
