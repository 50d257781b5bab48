/*
 * bspmm_neon.c - sgemm's tile of 6 rows x 16 columns; the k come from `index`, a different number for each panel.
 * llvm-mca 19, MAC a cycle on cortex-a72, neoverse-n1, neoverse-v1: 3.99, 7.97, 15.9, as sgemm.
 */
#include "bspmm.h"

#include "../sgemm/sgemm_tile_neon.h"

#if PCX_ARM64

/* `count` blocks: the numbers of mr rows at the k that `index` lists times nv vectors of weights each. */
PCX_INLINE void bspmm_neon_steps(const float *const *a, const uint16_t *index, const float *w,
                                 float32x4_t sum[][SGEMM_NEON_MAX], const int count, const int mr, const int nv)
{
    size_t at[SGEMM_NEON_ROUND];
    PCX_UNROLL
    for (int q = 0; q < count; q++)
        at[q] = index[q];
    sgemm_neon_steps(a, at, (const char *)w, sum, count, mr, nv, SGEMM_F32);
}

/* A strip: mr rows from `first` on times the panels [begin, end), of each its first nv vectors of columns. */
PCX_INLINE void bspmm_neon_strip(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, size_t begin, size_t end,
                                 const int mr, const int nv)
{
    const sgemm_target to = { NULL, 0, p->n, &p->tail };
    const float *a[SGEMM_TALL];
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        a[i] = r->a[first + i];
    for (size_t panel = begin; panel < end; panel++) {
        const size_t column = panel * SGEMM_NR, block = (size_t)p->rows[panel];
        const uint16_t *index = p->index + block, *const stop = index + bspmm_blocks(p->rows + panel);
        const float *w = p->w + block * SGEMM_NR;
        float32x4_t sum[SGEMM_TALL][SGEMM_NEON_MAX];
        sgemm_neon_start(&to, column, sum, mr, nv);
        for (; stop - index >= SGEMM_NEON_ROUND; index += SGEMM_NEON_ROUND, w += SGEMM_NEON_ROUND * SGEMM_NR)
            bspmm_neon_steps(a, index, w, sum, SGEMM_NEON_ROUND, mr, nv);
        for (; index < stop; index++, w += SGEMM_NR)
            bspmm_neon_steps(a, index, w, sum, 1, mr, nv);
        sgemm_neon_finish(r, first, &to, column, sum, mr, nv);
    }
}

#define STRIP(mr, nv) \
    PCX_NOINLINE static void bspmm_neon_strip_##mr##x##nv(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, \
                                                          size_t begin, size_t end) \
    { \
        bspmm_neon_strip(p, r, first, begin, end, mr, nv); \
    }
STRIP(1, 4) STRIP(2, 4) STRIP(3, 4) STRIP(4, 4) STRIP(5, 4) STRIP(6, 4)
STRIP(1, 2) STRIP(2, 2) STRIP(3, 2) STRIP(4, 2) STRIP(5, 2) STRIP(6, 2)

typedef void strip_fn(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, size_t begin, size_t end);
static strip_fn *const strips[][1 + SGEMM_TALL] = {
    { NULL, bspmm_neon_strip_1x4, bspmm_neon_strip_2x4, bspmm_neon_strip_3x4, bspmm_neon_strip_4x4,
      bspmm_neon_strip_5x4, bspmm_neon_strip_6x4 },
    { NULL, bspmm_neon_strip_1x2, bspmm_neon_strip_2x2, bspmm_neon_strip_3x2, bspmm_neon_strip_4x2,
      bspmm_neon_strip_5x2, bspmm_neon_strip_6x2 }, /* the last panel's first half */
};

static void bspmm_neon_run(const pcx_bspmm_args *p, const sgemm_rows *r, size_t first, size_t count, size_t begin,
                           size_t end, int half)
{
    strips[half][count](p, r, first, begin, end);
}

PCX_HIDDEN extern const bspmm_micro bspmm_micro_neon;
const bspmm_micro bspmm_micro_neon = { SGEMM_TALL, bspmm_neon_run };

#endif
