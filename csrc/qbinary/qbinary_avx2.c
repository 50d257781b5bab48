/* qbinary_avx2.c - 32 elements at a time, where they are neighbours or one number for all. */
#include "../common/qepilogue_avx2.h"
#include "qbinary.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

enum { STEP = 32 };

/* What all elements have in common. */
typedef struct {
    __m256i za, zb;
    __m256 sa, sb;
    qepilogue_avx2_clamp clamp;
    int small; /* no result leaves int32: see qepilogue_avx2_bytes */
} common;

static common qbinary_avx2_common_make(const qbinary_op *q)
{
    return (common) { .za = _mm256_set1_epi32((int32_t)q->za),
                      .zb = _mm256_set1_epi32((int32_t)q->zb),
                      .sa = _mm256_set1_ps(q->sa),
                      .sb = _mm256_set1_ps(q->sb),
                      .clamp = qepilogue_avx2_clamp_make(&q->clamp),
                      .small = qbinary_small(q) };
}

/* 32 bytes minus their zero point, as quarters of each 128-bit half, in the order that qepilogue_avx2_bytes expects. */
PCX_INLINE void qbinary_avx2_widen(const uint8_t *x, __m256i zero, __m256 v[4])
{
    const __m256i none = _mm256_setzero_si256(), bytes = _mm256_loadu_si256((const __m256i *)(const void *)x);
    const __m256i half[2] = { _mm256_unpacklo_epi8(bytes, none), _mm256_unpackhi_epi8(bytes, none) };
    PCX_UNROLL for (int i = 0; i < 4; i++) {
        const __m256i four =
            i % 2 ? _mm256_unpackhi_epi16(half[i / 2], none) : _mm256_unpacklo_epi16(half[i / 2], none);
        v[i] = _mm256_cvtepi32_ps(_mm256_sub_epi32(four, zero));
    }
}

/* ---- any two operands ---- */

PCX_INLINE __m256i qbinary_avx2_block(const common *k, int mul, int one, const uint8_t *a, const uint8_t *b)
{
    const __m256 single = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(b[0]), k->zb));
    __m256 u[4], v[4] = { single, single, single, single };
    qbinary_avx2_widen(a, k->za, u);
    if (!one)
        qbinary_avx2_widen(b, k->zb, v);
    PCX_UNROLL for (int i = 0; i < 4; i++)
        u[i] = mul ? _mm256_mul_ps(_mm256_mul_ps(u[i], v[i]), k->sa)
                   : _mm256_add_ps(_mm256_mul_ps(u[i], k->sa), _mm256_mul_ps(v[i], k->sb));
    return qepilogue_avx2_bytes(u, &k->clamp, k->small);
}

/* n >= STEP.  The last block, which may overlap the one before, is computed first: `out` may be `a` or `b`. */
PCX_INLINE void qbinary_avx2_row_vectors(const qbinary_op *q, int mul, int one, size_t n, const uint8_t *a,
                                         const uint8_t *b, uint8_t *out)
{
    const common k = qbinary_avx2_common_make(q);
    const size_t last = n - STEP;
    const __m256i end = qbinary_avx2_block(&k, mul, one, a + last, one ? b : b + last);
    for (size_t j = 0; j < last; j += STEP)
        _mm256_storeu_si256((__m256i *)(void *)(out + j), qbinary_avx2_block(&k, mul, one, a + j, one ? b : b + j));
    _mm256_storeu_si256((__m256i *)(void *)(out + last), end);
}

PCX_INLINE void qbinary_avx2_row(const qbinary_op *q, size_t n, const uint8_t *a, size_t sa, const uint8_t *b,
                                 size_t sb, uint8_t *out, size_t so)
{
    if (n < STEP || sa != 1 || sb > 1 || so != 1 || !qbinary_usual(q))
        qbinary_row(q, n, a, sa, b, sb, out, so);
    else if (q->mul && sb)
        qbinary_avx2_row_vectors(q, 1, 0, n, a, b, out);
    else if (q->mul)
        qbinary_avx2_row_vectors(q, 1, 1, n, a, b, out);
    else if (sb)
        qbinary_avx2_row_vectors(q, 0, 0, n, a, b, out);
    else
        qbinary_avx2_row_vectors(q, 0, 1, n, a, b, out);
}

/* ---- rows times one row: the scale of each channel ---- */

/* What a block of 32 channels is multiplied by, and less how much, in the order of `widen`. */
typedef struct {
    __m256 factor[4], less[4];
} column_block;

size_t qbinary_avx2_scratch(const void *args)
{
    const walk w = qbinary_walk(args);
    return ceil_div(qbinary_factors(&w, STEP), STEP) * sizeof(column_block);
}

/* (a - za) v = a v - za v: integers below 2^24 all of them, so the FMA rounds nothing. */
static void qbinary_avx2_columns_make(const qbinary_op *q, size_t n, const uint8_t *b, column_block *to)
{
    for (size_t x = 0; x < ceil_div(n, STEP); x++, to++) {
        qbinary_avx2_widen(b + min_size(x * STEP, n - STEP), _mm256_set1_epi32((int32_t)q->zb), to->factor);
        PCX_UNROLL for (int i = 0; i < 4; i++)
            to->less[i] = _mm256_mul_ps(_mm256_set1_ps((float)q->za), to->factor[i]);
    }
}

PCX_INLINE __m256i qbinary_avx2_scaled(const common *k, const column_block *c, const uint8_t *a)
{
    __m256 v[4];
    qbinary_avx2_widen(a, _mm256_setzero_si256(), v);
    PCX_UNROLL for (int i = 0; i < 4; i++)
        v[i] = _mm256_mul_ps(_mm256_fmsub_ps(v[i], c->factor[i], c->less[i]), k->sa);
    return qepilogue_avx2_bytes(v, &k->clamp, k->small);
}

static void qbinary_avx2_row_scaled(const common *k, size_t n, const column_block *c, const uint8_t *a, uint8_t *out)
{
    const size_t last = n - STEP;
    const __m256i end = qbinary_avx2_scaled(k, c + last / STEP + (last % STEP != 0), a + last);
    for (size_t j = 0; j < last; j += STEP, c++)
        _mm256_storeu_si256((__m256i *)(void *)(out + j), qbinary_avx2_scaled(k, c, a + j));
    _mm256_storeu_si256((__m256i *)(void *)(out + last), end);
}

void qbinary_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qbinary_args *p = args;
    const walk w = qbinary_walk(p);
    const qbinary_op q = qbinary_make(p);
    const size_t n = qbinary_factors(&w, STEP);
    if (!n || !q.mul || !qbinary_usual(&q)) {
        qbinary_run(args, begin, end, qbinary_avx2_row);
        return;
    }
    const common k = qbinary_avx2_common_make(&q);
    const uint8_t *held = NULL;
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const uint8_t *b = p->b + at.offset[1];
        if (b != held)
            qbinary_avx2_columns_make(&q, n, held = b, scratch);
        qbinary_avx2_row_scaled(&k, n, scratch, p->a + at.offset[0], p->out + at.offset[2]);
    }
}

PCX_TARGET_END
#endif
