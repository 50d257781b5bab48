/*
 * sgemm_tile_neon.h - tiles of up to 24 sums, for weights of any type: sgemm, hgemm and bspmm.  6 rows x 16 columns, 4
 * weights and a few numbers of the rows fill the 32 registers.  Every output is one sum along k, deep ones in parts: the bytes
 * of AVX2's, but for narrow products.
 */
#ifndef PCX_SGEMM_TILE_NEON_H
#define PCX_SGEMM_TILE_NEON_H

#include "sgemm.h"

#include "../common/act_neon.h"

#if PCX_ARM64

enum {
    SGEMM_NEON_LANES = 4,
    SGEMM_NEON_MAX = 16,                             /* vectors of columns in a tile, at most */
    SGEMM_NEON_VECTORS = SGEMM_NR / SGEMM_NEON_LANES, /* of a panel */
    SGEMM_NEON_FEW = 3,                              /* rows, at most, of a tile of several panels */
    SGEMM_NEON_ROUND = 4,                            /* steps of a round */
};

/* Sums that wait for others, and outputs on their way. */
typedef float sgemm_neon_part[24 * SGEMM_NEON_LANES];

PCX_INLINE void sgemm_neon_put(float *to, float32x4_t sum[][SGEMM_NEON_MAX], const int mr, const int nv)
{
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            vst1q_f32(to + (i * nv + v) * SGEMM_NEON_LANES, sum[i][v]);
    }
}

/* sum += total */
PCX_INLINE void sgemm_neon_add(float32x4_t sum[][SGEMM_NEON_MAX], const float *total, const int mr, const int nv)
{
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[i][v] = vaddq_f32(sum[i][v], vld1q_f32(total + (i * nv + v) * SGEMM_NEON_LANES));
    }
}

/* total += sum, and sum = 0. */
PCX_INLINE void sgemm_neon_deposit(float32x4_t sum[][SGEMM_NEON_MAX], float *total, const int mr, const int nv)
{
    sgemm_neon_add(sum, total, mr, nv);
    sgemm_neon_put(total, sum, mr, nv);
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            sum[i][v] = vdupq_n_f32(0);
    }
}

/* sgemm_finish_neon.c: the same for mr x width sums that lie in memory, of which some columns may be beyond the last. */
PCX_HIDDEN void sgemm_neon_finish_slowly(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t column,
                                         float *sum, size_t mr, size_t width);

/* Every row of the tile begins as bias[column ..]; beyond the last column it is zero. */
PCX_INLINE void sgemm_neon_start(const sgemm_target *to, size_t column, float32x4_t sum[][SGEMM_NEON_MAX], const int mr,
                                 const int nv)
{
    const size_t width = (size_t)nv * SGEMM_NEON_LANES;
    const float *bias = to->tail->bias ? to->tail->bias + column : NULL;
    float part[SGEMM_NEON_MAX * SGEMM_NEON_LANES];
    if (bias && !PCX_LIKELY(column + width <= to->n)) {
        memset(part, 0, width * sizeof *part);
        memcpy(part, bias, (to->n - column) * sizeof *part);
        bias = part;
    }
    PCX_UNROLL
    for (int v = 0; v < nv; v++) {
        sum[0][v] = bias ? vld1q_f32(bias + v * SGEMM_NEON_LANES) : vdupq_n_f32(0);
        PCX_UNROLL
        for (int i = 1; i < mr; i++)
            sum[i][v] = sum[0][v];
    }
}

/* out = act(sum + residual), for mr rows from `first` on x nv vectors from `column` on. */
PCX_INLINE void sgemm_neon_finish(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t column,
                                  float32x4_t sum[][SGEMM_NEON_MAX], const int mr, const int nv)
{
    const pcx_epilogue *const tail = to->tail;
    const act_neon_kind how = act_neon_kind_of(tail->act);
    if (!PCX_LIKELY(column + (size_t)nv * SGEMM_NEON_LANES <= to->n && how != ACT_NEON_SLOW)) {
        sgemm_neon_part part;
        sgemm_neon_put(part, sum, mr, nv);
        sgemm_neon_finish_slowly(r, first, to, column, part, (size_t)mr, (size_t)nv * SGEMM_NEON_LANES);
        return;
    }
    float bounds[2];
    act_bounds(tail->act, tail->act_params, bounds, bounds + 1);
    const float32x4_t low = vdupq_n_f32(bounds[0]), high = vdupq_n_f32(bounds[1]);
    PCX_UNROLL
    for (int i = 0; i < mr; i++) {
        float *const out = r->out[first + i] + column;
        const float *const residual = tail->residual ? r->residual[first + i] + column : NULL;
        if (residual) {
            PCX_UNROLL
            for (int v = 0; v < nv; v++)
                sum[i][v] = vaddq_f32(sum[i][v], vld1q_f32(residual + v * SGEMM_NEON_LANES));
        }
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            vst1q_f32(out + v * SGEMM_NEON_LANES, how == ACT_NEON_HARDSWISH ? act_neon_hardswish(sum[i][v])
                                                                          : act_neon_bounds(sum[i][v], low, high));
    }
}

/* Bytes of a weight. */
PCX_INLINE size_t sgemm_neon_size(const sgemm_weights type) { return type == SGEMM_F32 ? sizeof(float) : sizeof(uint16_t); }

/*
 * `count` steps of mr rows times a panel at b: numbers at[q] of the rows, and the panel's step q.  The next step's weights are
 * loaded in the last row, as soon as this one's were used, and a number of a row AHEAD rows before it is used.
 */
PCX_INLINE void sgemm_neon_steps(const float *const *a, const size_t *at, const char *b, float32x4_t sum[][SGEMM_NEON_MAX],
                                 const int count, const int mr, const int nv, const sgemm_weights type)
{
    enum { AHEAD = 2 };
    const size_t size = sgemm_neon_size(type), vector = SGEMM_NEON_LANES * size;
    float32x4_t w[SGEMM_NEON_VECTORS];
    float x[SGEMM_TALL];
    PCX_UNROLL
    for (int v = 0; v < nv; v++) {
        if (type == SGEMM_F32)
            PCX_LOAD_4S(w[v], b + (size_t)v * vector);
        else
            PCX_LOAD_4H(w[v], b + (size_t)v * vector);
    }
    PCX_UNROLL
    for (int i = 0; i < AHEAD && i < mr; i++)
        PCX_LOAD_S(x[i], a[i] + at[0]);
    PCX_UNROLL
    for (int q = 0; q < count; q++) {
        const char *const next = b + (size_t)(q + 1) * SGEMM_NR * size;
        PCX_UNROLL
        for (int v = 0; v < nv; v++) {
            if (type == SGEMM_F16)
                PCX_WIDEN_F16(w[v]);
            else if (type == SGEMM_BF16)
                PCX_WIDEN_BF16(w[v]);
        }
        PCX_UNROLL
        for (int i = 0; i < mr; i++) {
            const int later = mr <= AHEAD ? i + mr : i + AHEAD, row = later % mr, step = q + later / mr;
            PCX_UNROLL
            for (int v = 0; v < nv; v++) {
                PCX_FMLA_EACH(sum[i][v], w[v], x[i]);
                if (v + 1 == nv && step < count)
                    PCX_LOAD_S(x[row], a[row] + at[step]);
                if (i + 1 == mr && q + 1 < count && type == SGEMM_F32)
                    PCX_LOAD_4S(w[v], next + (size_t)v * vector);
                else if (i + 1 == mr && q + 1 < count)
                    PCX_LOAD_4H(w[v], next + (size_t)v * vector);
            }
        }
    }
}

/* A step of few rows times several panels, ldw bytes apart: sums enough for the latency of FMA; a vector of weights at a time. */
PCX_INLINE void sgemm_neon_flat(const float *const *a, const char *b, size_t ldw, size_t at,
                                float32x4_t sum[][SGEMM_NEON_MAX], const int mr, const int nv, const sgemm_weights type)
{
    float x[SGEMM_NEON_FEW];
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        PCX_LOAD_S(x[i], a[i] + at);
    PCX_UNROLL
    for (int v = 0; v < nv; v++) {
        const char *const from = b + (size_t)(v / SGEMM_NEON_VECTORS) * ldw +
                                 (size_t)(v % SGEMM_NEON_VECTORS) * SGEMM_NEON_LANES * sgemm_neon_size(type);
        float32x4_t w;
        if (type == SGEMM_F32)
            w = vld1q_f32((const float *)(const void *)from);
        else
            PCX_LOAD_4H(w, from);
        if (type == SGEMM_F16)
            PCX_WIDEN_F16(w);
        else if (type == SGEMM_BF16)
            PCX_WIDEN_BF16(w);
        PCX_UNROLL
        for (int i = 0; i < mr; i++)
            PCX_FMLA_EACH(sum[i][v], w, x[i]);
    }
}

/* `length` numbers of each row, from `at` on: one index and fixed rows, not a pointer for each. */
PCX_INLINE const char *sgemm_neon_run(const float *const *a, const char *b, size_t ldw, size_t at, size_t length,
                                      float32x4_t sum[][SGEMM_NEON_MAX], const int mr, const int nv,
                                      const sgemm_weights type)
{
    const size_t end = at + length, step = SGEMM_NR * sgemm_neon_size(type);
    if (nv > SGEMM_NEON_VECTORS) {
        for (; at < end; at++, b += step) {
            PCX_OPAQUE(at);
            sgemm_neon_flat(a, b, ldw, at, sum, mr, nv, type);
        }
        return b;
    }
    for (; at + SGEMM_NEON_ROUND <= end; at += SGEMM_NEON_ROUND, b += SGEMM_NEON_ROUND * step) {
        PCX_OPAQUE(at);
        sgemm_neon_steps(a, (const size_t[]){ at, at + 1, at + 2, at + 3 }, b, sum, SGEMM_NEON_ROUND, mr, nv, type);
    }
    for (; at < end; at++, b += step) {
        PCX_OPAQUE(at);
        sgemm_neon_steps(a, &at, b, sum, 1, mr, nv, type);
    }
    return b;
}

/* All numbers of each row; of more than SGEMM_DEEP, those are summed at once. */
PCX_INLINE void sgemm_neon_sums(const float *const *a, const char *b, size_t ldw, const sgemm_rows *r,
                                float32x4_t sum[][SGEMM_NEON_MAX], const int mr, const int nv, const int deep,
                                const sgemm_weights type)
{
    sgemm_neon_part total;
    size_t left = SGEMM_DEEP, at = 0;
    if (deep)
        memset(total, 0, sizeof total);
    for (size_t i = r->lines; i; i--, at += r->line_step - r->runs * r->run_step)
        for (size_t j = r->runs; j; j--, at += r->run_step) {
            if (!deep) {
                b = sgemm_neon_run(a, b, ldw, at, r->length, sum, mr, nv, type);
                continue;
            }
            for (size_t done = 0, some; done < r->length; done += some, left -= some) {
                if (!left) {
                    sgemm_neon_deposit(sum, total, mr, nv);
                    left = SGEMM_DEEP;
                }
                some = min_size(left, r->length - done);
                b = sgemm_neon_run(a, b, ldw, at + done, some, sum, mr, nv, type);
            }
        }
    if (deep)
        sgemm_neon_add(sum, total, mr, nv);
}

/* A strip: mr rows from `first` on times the panels [begin, end), nv vectors of columns at a time. */
typedef void sgemm_neon_strip(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t begin, size_t end);

PCX_INLINE void sgemm_neon_strip_of(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t begin, size_t end,
                                    const int mr, const int nv, const sgemm_weights type)
{
    const size_t panels = nv > SGEMM_NEON_VECTORS ? (size_t)nv / SGEMM_NEON_VECTORS : 1;
    const size_t ldw = to->ldw * sgemm_neon_size(type);
    const float *a[SGEMM_TALL];
    PCX_UNROLL
    for (int i = 0; i < mr; i++)
        a[i] = r->a[first + i];
    for (size_t panel = begin; panel < end; panel += panels) {
        const size_t column = panel * SGEMM_NR;
        const char *const b = (const char *)to->w + panel * ldw;
        float32x4_t sum[SGEMM_TALL][SGEMM_NEON_MAX];
        sgemm_neon_start(to, column, sum, mr, nv);
        if (PCX_LIKELY(r->lines * r->runs * r->length <= SGEMM_DEEP))
            sgemm_neon_sums(a, b, ldw, r, sum, mr, nv, 0, type);
        else
            sgemm_neon_sums(a, b, ldw, r, sum, mr, nv, 1, type);
        sgemm_neon_finish(r, first, to, column, sum, mr, nv);
    }
}

/* The strips of a type of weights, by their rows: of a panel, of its first half, and of few rows, of several panels. */
typedef struct {
    sgemm_neon_strip *whole[SGEMM_TALL + 1], *half[SGEMM_TALL + 1], *flat[SGEMM_NEON_FEW + 1];
} sgemm_neon_strips;

#define SGEMM_NEON_STRIP(stem, type, mr, nv) \
    PCX_NOINLINE static void stem##_##mr##x##nv(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t begin, \
                                                size_t end) \
    { \
        sgemm_neon_strip_of(r, first, to, begin, end, mr, nv, type); \
    }
#define SGEMM_NEON_STRIPS_6(stem, type, nv) \
    SGEMM_NEON_STRIP(stem, type, 1, nv) SGEMM_NEON_STRIP(stem, type, 2, nv) SGEMM_NEON_STRIP(stem, type, 3, nv) \
    SGEMM_NEON_STRIP(stem, type, 4, nv) SGEMM_NEON_STRIP(stem, type, 5, nv) SGEMM_NEON_STRIP(stem, type, 6, nv)
#define SGEMM_NEON_LIST_6(stem, nv) \
    { NULL, stem##_1x##nv, stem##_2x##nv, stem##_3x##nv, stem##_4x##nv, stem##_5x##nv, stem##_6x##nv }
/* Defines `stem`, the strips of `type`. */
#define SGEMM_NEON_STRIPS(stem, type) \
    SGEMM_NEON_STRIPS_6(stem, type, 2) SGEMM_NEON_STRIPS_6(stem, type, 4) SGEMM_NEON_STRIP(stem, type, 1, 16) \
    SGEMM_NEON_STRIP(stem, type, 2, 8) SGEMM_NEON_STRIP(stem, type, 3, 8) \
    static const sgemm_neon_strips stem = { SGEMM_NEON_LIST_6(stem, 4), SGEMM_NEON_LIST_6(stem, 2), \
                                            { NULL, stem##_1x16, stem##_2x8, stem##_3x8 } };

/* sgemm_neon.c: all rows times the panels [begin, end); of 32 bits a weight, so many panels at a time as fit the L1 cache. */
PCX_HIDDEN void sgemm_neon_panels(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end,
                                  const sgemm_neon_strips *strips);

#endif
#endif
