/* qbinary.h - rows, and scalar. */
#ifndef PCX_QBINARY_H
#define PCX_QBINARY_H

#include "../common/qepilogue.h"
#include "../common/walk.h"

PCX_HIDDEN pcx_run_fn qbinary_avx512, qbinary_avx2, qbinary_neon;
PCX_HIDDEN pcx_size_fn qbinary_avx512_scratch, qbinary_avx2_scratch;

PCX_INLINE walk qbinary_walk(const void *args)
{
    walk w;
    walk_extents(&w, 3, 6, WALK_SLOTS(args, pcx_qbinary_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_qbinary_args, a0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_qbinary_args, b0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_qbinary_args, o0), 1);
    walk_finish(&w);
    return w;
}

typedef struct {
    int mul;
    uint32_t za, zb;
    float sa, sb;
    qepilogue_clamp clamp;
} qbinary_op;

PCX_INLINE qbinary_op qbinary_make(const pcx_qbinary_args *p)
{
    return (qbinary_op){ p->op == 1, (uint32_t)p->zero[0], (uint32_t)p->zero[1],
                         p->scale[0], p->scale[1],         qepilogue_clamp_make(p->zero + 2) };
}

/* Zero points of bytes: |product| <= 255 * 255 then, and products of floats are the same as those of integers. */
static inline int qbinary_usual(const qbinary_op *q) { return q->za <= UINT8_MAX && q->zb <= UINT8_MAX; }

/* Whether no result leaves int32, where that is so: then it needs no clamping before the conversion. */
static inline int qbinary_small(const qbinary_op *q)
{
    return q->sa < 16384 && q->sa > -16384 && (q->mul || (q->sb < 16384 && q->sb > -16384));
}

/*
 * Rows times one row, as the scales of channels are: its length if b's rows are all the same, as far as the sizes say,
 * and at least `min` long; else 0.
 */
static inline size_t qbinary_factors(const walk *w, size_t min)
{
    if (w->rank < 2 || w->stride[1][w->rank - 2])
        return 0;
    const size_t n = w->count[w->rank - 1];
    for (size_t k = 0; k < 3; k++)
        if (walk_step(w, k) != 1)
            return 0;
    return n >= min && n <= WALK_CHUNK ? n : 0;
}

PCX_INLINE uint8_t qbinary_one(const qbinary_op *q, int mul, uint8_t a, uint8_t b)
{
    const uint32_t u = a - q->za, v = b - q->zb;
    const float y = mul ? (float)(int32_t)(u * v) * q->sa : (float)(int32_t)u * q->sa + (float)(int32_t)v * q->sb;
    return (uint8_t)qepilogue_round(y, &q->clamp);
}

/* out[j] = op of a[j * sa] and b[j * sb]. */
typedef void qbinary_row_fn(const qbinary_op *op, size_t n, const uint8_t *a, size_t sa, const uint8_t *b, size_t sb,
                            uint8_t *out, size_t so);

PCX_INLINE void qbinary_row(const qbinary_op *op, size_t n, const uint8_t *a, size_t sa, const uint8_t *b, size_t sb,
                            uint8_t *out, size_t so)
{
    const qbinary_op q = *op; /* out may be anything, for all the compiler knows */
    if (q.mul)
        PCX_IVDEP
        for (size_t j = 0; j < n; j++)
            out[j * so] = qbinary_one(&q, 1, a[j * sa], b[j * sb]);
    else
        PCX_IVDEP
        for (size_t j = 0; j < n; j++)
            out[j * so] = qbinary_one(&q, 0, a[j * sa], b[j * sb]);
}

PCX_INLINE void qbinary_run(const void *args, size_t begin, size_t end, qbinary_row_fn *row)
{
    const pcx_qbinary_args *p = args;
    const walk w = qbinary_walk(p);
    const qbinary_op q = qbinary_make(p);
    const size_t sa = walk_step(&w, 0), sb = walk_step(&w, 1), so = walk_step(&w, 2);
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const uint8_t *a = p->a + at.offset[0], *b = p->b + at.offset[1];
        uint8_t *out = p->out + at.offset[2];
        row(&q, at.n, a, sa, b, sb, out, so);
    }
}

#endif
