/* qepilogue_avx512.c - parts of the epilogue that are called: one copy of each for all kernels. */
#include "qepilogue_avx512.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")

#define QEPILOGUE_AVX512_AFTER(name, table) \
    void name(const qepilogue_avx512_columns *c, size_t i, size_t rows, const __m512i *packed, uint8_t *out, \
              size_t ldo) \
    { \
        const pcx_qoutput *q = &c->tail->q; \
        const uint8_t *other = q->residual ? q->residual + i * q->ldr + c->j : NULL; \
        const size_t per = (size_t)c->per; \
        for (size_t r = 0; r < rows; r += per) { \
            __m512i x = *packed++; \
            if (q->lut) \
                x = table(q->lut, x); \
            if (other) { \
                const __m512i y = qepilogue_avx512_get(c->per, rows - r, other + r * q->ldr, q->ldr, c->mask); \
                x = qepilogue_avx512_add(c->tail, x, qepilogue_avx512_turn(y)); \
            } \
            qepilogue_avx512_put(c->per, rows - r, out + r * ldo, ldo, c->mask, qepilogue_avx512_turn(x)); \
        } \
    }
QEPILOGUE_AVX512_AFTER(qepilogue_avx512_after_bw, qepilogue_avx512_table)
PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")
QEPILOGUE_AVX512_AFTER(qepilogue_avx512_after_vbmi, qepilogue_avx512_table_vbmi)
PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#undef QEPILOGUE_AVX512_AFTER

enum { QEPILOGUE_AVX512_PACKED = 8 }; /* vectors of bytes that wait for `after` */

/* Rows of sums to u8; `per` is c->per. */
PCX_INLINE void qepilogue_avx512_u8_rows(const qepilogue_avx512_columns *c, const size_t per, size_t i, size_t rows,
                                         const int32_t *sum, size_t lds, uint8_t *out, size_t ldo)
{
    const size_t each = 4 / per, last = ceil_div(c->cols, QT_NR) - 1;
    const int dense = c->cols == 64 / per && ldo == 64 / per; /* rows of a vector lie side by side */
    size_t at[4]; /* where a vector's sums are, from its first row on; past the end, the last vector of a row again */
    PCX_UNROLL for (size_t x = 0; x < 4; x++)
        at[x] = x / each * lds + min_size(x % each, last) * QT_NR;
    for (size_t r = 0, end; r < rows; r = end) {
        const qepilogue_avx512_vector vector = c->vector;
        const __mmask64 mask = c->mask;
        const int after = c->after != NULL;
        const size_t first = r;
        __m512i packed[QEPILOGUE_AVX512_PACKED], *to = packed;
        const int32_t *row = sum + r * lds;
        uint8_t *y = out + r * ldo;
        for (end = min_size(r + QEPILOGUE_AVX512_PACKED * per, rows); r < end; r += per, row += per * lds, y += per * ldo) {
            __m512i acc[4];
            if (per > 1 && rows - r < per) /* fewer rows than a vector holds: the last one again */
                PCX_UNROLL for (size_t x = 0; x < 4; x++)
                    at[x] = min_size(x / each, rows - r - 1) * lds + min_size(x % each, last) * QT_NR;
            PCX_UNROLL for (size_t x = 0; x < 4; x++)
                acc[x] = _mm512_loadu_si512(row + at[x]);
            const __m512i bytes = qepilogue_avx512_sums(&vector, acc);
            if (after)
                *to++ = bytes;
            else if (dense && rows - r >= per)
                _mm512_storeu_si512(y, qepilogue_avx512_turn(bytes));
            else
                qepilogue_avx512_put((int)per, rows - r, y, ldo, mask, qepilogue_avx512_turn(bytes));
        }
        if (after)
            c->after(c, i + first, end - first, packed, out + first * ldo, ldo);
    }
}

/* act_apply, where that needs no more than comparisons. */
PCX_INLINE __m512 qepilogue_avx512_bound(__m512 x, size_t act, const float *p)
{
    if (act == PCX_ACT_RELU) /* NaN stays, and -0 becomes 0 */
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NLE_UQ), x);
    if (act != PCX_ACT_CLIP)
        return x;
    const __m512 min = _mm512_set1_ps(p[0]), max = _mm512_set1_ps(p[1]);
    x = _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, min, _CMP_LT_OQ), min);
    return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, max, _CMP_GT_OQ), max);
}

/* Rows of sums to int32 or floats, or to zeros. */
static void qepilogue_avx512_wide_rows(const qepilogue_avx512_columns *c, size_t i, size_t rows, const int32_t *sum,
                                       size_t lds, uint8_t *out, size_t ldo)
{
    const qepilogue *t = c->tail;
    const int any = t->mode == QT_ZERO || (t->mode == QT_F32 && t->q.act > PCX_ACT_CLIP);
    for (size_t r = 0; r < rows; r++, sum += lds, out += ldo) {
        if (any)
            qepilogue_any_row(t, i + r, c->j, c->cols, sum, out);
        for (size_t x = 0; !any && x < c->cols; x += QT_NR) {
            const __mmask16 some = (__mmask16)(c->mask >> x);
            __m512i v = _mm512_loadu_si512(sum + x);
            if (t->mode == QT_F32) {
                const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(v), c->vector.scale[x / QT_NR]);
                v = _mm512_castps_si512(qepilogue_avx512_bound(scaled, t->q.act, t->q.act_params));
            }
            _mm512_mask_storeu_epi32(out + 4 * x, some, v);
        }
    }
}

void qepilogue_avx512_rows(const qepilogue_avx512_columns *c, size_t i, size_t rows, const int32_t *sum, size_t lds,
                           uint8_t *out, size_t ldo)
{
    if (!c->plain)
        qepilogue_avx512_wide_rows(c, i, rows, sum, lds, out, ldo);
    else if (c->per == 4)
        qepilogue_avx512_u8_rows(c, 4, i, rows, sum, lds, out, ldo);
    else if (c->per == 2)
        qepilogue_avx512_u8_rows(c, 2, i, rows, sum, lds, out, ldo);
    else
        qepilogue_avx512_u8_rows(c, 1, i, rows, sum, lds, out, ldo);
}

PCX_TARGET_END
#endif
