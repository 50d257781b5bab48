/* qbinary_avx512.c - 64 elements at a time, where they are neighbours or one number for all. */
#include "../common/qepilogue_avx512.h"
#include "qbinary.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")

enum { STEP = 64 };

/* What all elements have in common. */
typedef struct {
    __m512i za, zb;
    __m512 sa, sb;
    qepilogue_avx512_clamp clamp;
    int small;
} common;

static common qbinary_avx512_common_make(const qbinary_op *q)
{
    return (common) { .za = _mm512_set1_epi32((int32_t)q->za),
                      .zb = _mm512_set1_epi32((int32_t)q->zb),
                      .sa = _mm512_set1_ps(q->sa),
                      .sb = _mm512_set1_ps(q->sb),
                      .clamp = qepilogue_avx512_clamp_make(&q->clamp),
                      .small = qbinary_small(q) };
}

/* The first n, at most 64, elements. */
PCX_INLINE __mmask64 qbinary_avx512_first(size_t n) { return ~(__mmask64)0 >> (STEP - min_size(n, STEP)); }

/* Bytes less their zero point: quarters of each 128-bit lane, as qepilogue_avx512_bytes puts them together again. */
PCX_INLINE void qbinary_avx512_widen(const uint8_t *x, __mmask64 mask, __m512i zero, __m512 v[4])
{
    const __m512i none = _mm512_setzero_si512(), bytes = _mm512_maskz_loadu_epi8(mask, x);
    const __m512i half[2] = { _mm512_unpacklo_epi8(bytes, none), _mm512_unpackhi_epi8(bytes, none) };
    PCX_UNROLL for (int i = 0; i < 4; i++) {
        const __m512i four =
            i % 2 ? _mm512_unpackhi_epi16(half[i / 2], none) : _mm512_unpacklo_epi16(half[i / 2], none);
        v[i] = _mm512_cvtepi32_ps(_mm512_sub_epi32(four, zero));
    }
}

/* ---- any two operands ---- */

PCX_INLINE void qbinary_avx512_row_vectors(const qbinary_op *q, const int mul, const int one, size_t n,
                                           const uint8_t *a, const uint8_t *b, uint8_t *out)
{
    const common k = qbinary_avx512_common_make(q);
    const __m512 single = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_set1_epi32(b[0]), k.zb));
    for (size_t j = 0; j < n; j += STEP) {
        const __mmask64 mask = qbinary_avx512_first(n - j);
        __m512 u[4], v[4] = { single, single, single, single };
        qbinary_avx512_widen(a + j, mask, k.za, u);
        if (!one)
            qbinary_avx512_widen(b + j, mask, k.zb, v);
        PCX_UNROLL for (int i = 0; i < 4; i++)
            u[i] = mul ? _mm512_mul_ps(_mm512_mul_ps(u[i], v[i]), k.sa)
                       : _mm512_add_ps(_mm512_mul_ps(u[i], k.sa), _mm512_mul_ps(v[i], k.sb));
        _mm512_mask_storeu_epi8(out + j, mask, qepilogue_avx512_bytes(u, &k.clamp, k.small ? QT_SMALL : 0));
    }
}

PCX_INLINE void qbinary_avx512_row(const qbinary_op *q, size_t n, const uint8_t *a, size_t sa, const uint8_t *b,
                                   size_t sb, uint8_t *out, size_t so)
{
    if (sa != 1 || sb > 1 || so != 1 || !qbinary_usual(q))
        qbinary_row(q, n, a, sa, b, sb, out, so);
    else if (q->mul && sb)
        qbinary_avx512_row_vectors(q, 1, 0, n, a, b, out);
    else if (q->mul)
        qbinary_avx512_row_vectors(q, 1, 1, n, a, b, out);
    else if (sb)
        qbinary_avx512_row_vectors(q, 0, 0, n, a, b, out);
    else
        qbinary_avx512_row_vectors(q, 0, 1, n, a, b, out);
}

/* ---- rows times one row: the scale of each channel ---- */

/* What a block of 64 channels is multiplied by, and less how much, in the order of `widen`. */
typedef struct {
    __m512 factor[4], less[4];
} column_block;

size_t qbinary_avx512_scratch(const void *args)
{
    const walk w = qbinary_walk(args);
    return ceil_div(qbinary_factors(&w, 1), STEP) * sizeof(column_block);
}

/* (a - za) v = a v - za v: integers below 2^24 all of them, so the FMA rounds nothing. */
static void qbinary_avx512_columns_make(const qbinary_op *q, size_t n, const uint8_t *b, column_block *to)
{
    for (size_t j = 0; j < n; j += STEP, to++) {
        qbinary_avx512_widen(b + j, qbinary_avx512_first(n - j), _mm512_set1_epi32((int32_t)q->zb), to->factor);
        PCX_UNROLL for (int i = 0; i < 4; i++)
            to->less[i] = _mm512_mul_ps(_mm512_set1_ps((float)q->za), to->factor[i]);
    }
}

static void qbinary_avx512_row_scaled(const common *all, size_t n, const column_block *c, const uint8_t *a,
                                      uint8_t *out)
{
    const common k = *all; /* a copy that no store reaches */
    for (size_t j = 0; j < n; j += STEP, c++) {
        const __mmask64 mask = qbinary_avx512_first(n - j);
        __m512 v[4];
        qbinary_avx512_widen(a + j, mask, _mm512_setzero_si512(), v);
        PCX_UNROLL for (int i = 0; i < 4; i++)
            v[i] = _mm512_mul_ps(_mm512_fmsub_ps(v[i], c->factor[i], c->less[i]), k.sa);
        _mm512_mask_storeu_epi8(out + j, mask, qepilogue_avx512_bytes(v, &k.clamp, k.small ? QT_SMALL : 0));
    }
}

void qbinary_avx512(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qbinary_args *p = args;
    const walk w = qbinary_walk(p);
    const qbinary_op q = qbinary_make(p);
    const size_t n = qbinary_factors(&w, 1);
    if (!n || !q.mul || !qbinary_usual(&q)) {
        qbinary_run(args, begin, end, qbinary_avx512_row);
        return;
    }
    const common k = qbinary_avx512_common_make(&q);
    const uint8_t *held = NULL;
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w)) {
        const uint8_t *b = p->b + at.offset[1];
        if (b != held)
            qbinary_avx512_columns_make(&q, n, held = b, scratch);
        qbinary_avx512_row_scaled(&k, n, scratch, p->a + at.offset[0], p->out + at.offset[2]);
    }
}

PCX_TARGET_END
#endif
