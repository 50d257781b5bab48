/*
 * qepilogue_avx512.h - qepilogue.h on AVX-512 (F, BW, DQ, VL): sums to the output, 64 bytes at a time.
 *
 * 64 bytes are one row of up to 64 columns, or two of up to 32, or four of up to 16: `per`, the rows of a vector.
 * They are made `packed`: of each 128-bit lane the first four bytes come from the first vector of sums, the next four
 * from the second, and so on.  qepilogue_avx512_turn puts them in order, and back.
 */
#ifndef PCX_QEPILOGUE_AVX512_H
#define PCX_QEPILOGUE_AVX512_H

#include "qepilogue.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")

/* A table's values of 64 bytes, by VBMI. */
PCX_INLINE __m512i qepilogue_avx512_table_vbmi(const uint8_t lut[256], __m512i x)
{
    const __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512(lut), x, _mm512_loadu_si512(lut + 64));
    const __m512i high = _mm512_permutex2var_epi8(_mm512_loadu_si512(lut + 128), x, _mm512_loadu_si512(lut + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
}

PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")

/* A table's values of the low bytes of words, in these; high bytes are anything: half of the table's word x / 2. */
PCX_INLINE __m512i qepilogue_avx512_table_words(const uint8_t lut[256], __m512i x)
{
    const __m512i at = _mm512_srli_epi16(x, 1); /* six bits count; bit 7 of x chooses the half */
    const __m512i low = _mm512_permutex2var_epi16(_mm512_loadu_si512(lut), at, _mm512_loadu_si512(lut + 64));
    const __m512i high = _mm512_permutex2var_epi16(_mm512_loadu_si512(lut + 128), at, _mm512_loadu_si512(lut + 192));
    const __m512i word = _mm512_mask_blend_epi16(_mm512_test_epi16_mask(x, _mm512_set1_epi16(128)), low, high);
    return _mm512_srlv_epi16(word, _mm512_and_si512(_mm512_slli_epi16(x, 3), _mm512_set1_epi16(8)));
}

/* A table's values of 64 bytes, without VBMI. */
PCX_INLINE __m512i qepilogue_avx512_table(const uint8_t lut[256], __m512i x)
{
    const __m512i even = qepilogue_avx512_table_words(lut, x);
    const __m512i odd = qepilogue_avx512_table_words(lut, _mm512_srli_epi16(x, 8));
    return _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaau, even, _mm512_slli_epi16(odd, 8));
}

/* A qepilogue_clamp in registers. */
typedef struct {
    __m512 high;
    __m512i zero, min, max;
} qepilogue_avx512_clamp;

PCX_INLINE qepilogue_avx512_clamp qepilogue_avx512_clamp_make(const qepilogue_clamp *c)
{
    return (qepilogue_avx512_clamp){ _mm512_set1_ps(c->high), _mm512_set1_epi16((int16_t)c->zero),
                                     _mm512_set1_epi8((char)c->min), _mm512_set1_epi8((char)c->max) };
}

/* QT_SMALL and so on for `count` scales, a multiple of 16.  NaN is not small. */
PCX_INLINE int qepilogue_avx512_skips(const qepilogue_clamp *c, const float *scale, size_t count)
{
    __mmask16 small = 0xffff;
    for (size_t x = 0; x < count; x += 16) {
        const __m512 size = _mm512_abs_ps(_mm512_loadu_ps(scale + x));
        small = _mm512_mask_cmp_ps_mask(small, size, _mm512_set1_ps(1.0f), _CMP_LT_OQ);
    }
    return QT_SMALL * (small == 0xffff) | QT_NO_ZERO * (c->zero == 0) | QT_NO_CLAMP * (c->min == 0 && c->max == 255);
}

/* Dwords by columns of 4x4 instead of by rows: packed bytes in order, or the reverse. */
PCX_INLINE __m512i qepilogue_avx512_turn(__m512i bytes)
{
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
}

/*
 * Four vectors of floats to 64 bytes, packed.  Too low a float becomes INT32_MIN or stays, and saturates on its way;
 * with QT_SMALL, so does too high a one.
 */
PCX_INLINE __m512i qepilogue_avx512_bytes(const __m512 v[4], const qepilogue_avx512_clamp *c, int skips)
{
    __m512i q[4];
    if (skips & QT_SMALL)
        PCX_UNROLL for (int x = 0; x < 4; x++)
            q[x] = _mm512_cvtps_epi32(v[x]);
    else
        PCX_UNROLL for (int x = 0; x < 4; x++)
            q[x] = _mm512_cvtps_epi32(_mm512_min_ps(v[x], c->high)); /* NaN becomes `high` */
    __m512i first = _mm512_packs_epi32(q[0], q[1]), second = _mm512_packs_epi32(q[2], q[3]);
    if (!(skips & QT_NO_ZERO)) {
        first = _mm512_adds_epi16(first, c->zero);
        second = _mm512_adds_epi16(second, c->zero);
    }
    const __m512i bytes = _mm512_packus_epi16(first, second);
    if (skips & QT_NO_CLAMP)
        return bytes;
    return _mm512_max_epu8(_mm512_min_epu8(bytes, c->max), c->min);
}

/* Packed bytes less zero, times scale: the four vectors that they came from. */
PCX_INLINE void qepilogue_avx512_unpack(__m512i bytes, int32_t zero, float scale, __m512 v[4])
{
    const __m512i first = _mm512_broadcast_i32x4(_mm_setr_epi32((int)0x80808000, (int)0x80808001, (int)0x80808002,
                                                                (int)0x80808003)); /* a byte to a dword */
    PCX_UNROLL for (int x = 0; x < 4; x++) {
        const __m512i q = _mm512_shuffle_epi8(bytes, _mm512_add_epi32(first, _mm512_set1_epi32(4 * x)));
        v[x] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(zero))), _mm512_set1_ps(scale));
    }
}

/* 64 bytes plus those of the residual, both packed. */
PCX_INLINE __m512i qepilogue_avx512_add(const qepilogue *t, __m512i bytes, __m512i residual)
{
    const qepilogue_avx512_clamp clamp = qepilogue_avx512_clamp_make(&t->add);
    __m512 mine[4], other[4];
    qepilogue_avx512_unpack(bytes, t->add_zero[0], t->add_scale[0], mine);
    qepilogue_avx512_unpack(residual, t->add_zero[1], t->add_scale[1], other);
    PCX_UNROLL for (int x = 0; x < 4; x++)
        mine[x] = _mm512_add_ps(mine[x], other[x]);
    return qepilogue_avx512_bytes(mine, &clamp, 0);
}

/* The first `rows` of the `per` rows of a vector, ld bytes apart, the columns of `mask` of each; `per` is 1, 2 or 4. */
PCX_INLINE __m512i qepilogue_avx512_get(const int per, size_t rows, const uint8_t *at, size_t ld, __mmask64 mask)
{
    if (per == 1)
        return _mm512_maskz_loadu_epi8(mask, at);
    if (per == 2) {
        const __m256i low = _mm256_maskz_loadu_epi8((__mmask32)mask, at);
        const __m256i high = _mm256_maskz_loadu_epi8(rows > 1 ? (__mmask32)mask : 0, at + ld);
        return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    __m512i all = _mm512_castsi128_si512(_mm_maskz_loadu_epi8((__mmask16)mask, at));
    all = _mm512_inserti32x4(all, _mm_maskz_loadu_epi8(rows > 1 ? (__mmask16)mask : 0, at + ld), 1);
    all = _mm512_inserti32x4(all, _mm_maskz_loadu_epi8(rows > 2 ? (__mmask16)mask : 0, at + 2 * ld), 2);
    return _mm512_inserti32x4(all, _mm_maskz_loadu_epi8(rows > 3 ? (__mmask16)mask : 0, at + 3 * ld), 3);
}

/* The reverse. */
PCX_INLINE void qepilogue_avx512_put(const int per, size_t rows, uint8_t *at, size_t ld, __mmask64 mask, __m512i bytes)
{
    if (per == 1) {
        _mm512_mask_storeu_epi8(at, mask, bytes);
    } else if (per == 2) {
        _mm256_mask_storeu_epi8(at, (__mmask32)mask, _mm512_castsi512_si256(bytes));
        if (rows > 1)
            _mm256_mask_storeu_epi8(at + ld, (__mmask32)mask, _mm512_extracti64x4_epi64(bytes, 1));
    } else {
        _mm_mask_storeu_epi8(at, (__mmask16)mask, _mm512_castsi512_si128(bytes));
        if (rows > 1)
            _mm_mask_storeu_epi8(at + ld, (__mmask16)mask, _mm512_extracti32x4_epi32(bytes, 1));
        if (rows > 2)
            _mm_mask_storeu_epi8(at + 2 * ld, (__mmask16)mask, _mm512_extracti32x4_epi32(bytes, 2));
        if (rows > 3)
            _mm_mask_storeu_epi8(at + 3 * ld, (__mmask16)mask, _mm512_extracti32x4_epi32(bytes, 3));
    }
}

/* What makes 64 bytes of four vectors of sums.  A local copy stays in registers, whatever is stored. */
typedef struct {
    __m512 scale[4]; /* of each vector, zero beyond the columns */
    qepilogue_avx512_clamp clamp;
    int skips; /* QT_SMALL ... */
} qepilogue_avx512_vector;

/* Four vectors of sums to packed bytes, still without table and residual. */
PCX_INLINE __m512i qepilogue_avx512_sums(const qepilogue_avx512_vector *to, const __m512i acc[4])
{
    __m512 v[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        v[x] = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[x]), to->scale[x]);
    return qepilogue_avx512_bytes(v, &to->clamp, to->skips);
}

/* Up to 64 columns and what finishes their sums, kept at hand from tile to tile. */
typedef struct qepilogue_avx512_columns {
    const qepilogue *tail;
    size_t j, cols; /* columns [j, j + cols) */
    int per;        /* rows of a vector of bytes: 4, 2 or 1 */
    int plain;      /* to u8 */
    __mmask64 mask; /* of cols bytes */
    qepilogue_avx512_vector vector;
    /* With a table or a residual: ceil(rows / per) vectors of packed bytes of rows [i, i + rows) to `out`; or NULL */
    void (*after)(const struct qepilogue_avx512_columns *c, size_t i, size_t rows, const __m512i *packed, uint8_t *out,
                  size_t ldo);
} qepilogue_avx512_columns;

#define QEPILOGUE_AVX512_AFTER(name, table) \
    static PCX_NOINLINE PCX_MAYBE_UNUSED void name(const qepilogue_avx512_columns *c, size_t i, size_t rows, \
                                                   const __m512i *packed, uint8_t *out, size_t ldo) \
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

/* `vbmi`: there is PCX_AVX512VBMI. */
static inline qepilogue_avx512_columns qepilogue_avx512_columns_make(const qepilogue *t, size_t j, size_t cols,
                                                                     const int vbmi)
{
    qepilogue_avx512_columns c = { .tail = t, .j = j, .cols = cols, .mask = ~(__mmask64)0 >> (64 - cols) };
    float scale[4 * QT_NR] = { 0 };
    if (t->scale)
        memcpy(scale, t->scale + j, cols * sizeof *scale);
    c.per = cols <= QT_NR ? 4 : cols <= 2 * QT_NR ? 2 : 1;
    for (int x = 0; x < 4; x++)
        c.vector.scale[x] = _mm512_loadu_ps(scale + x % (4 / c.per) * QT_NR);
    c.vector.clamp = qepilogue_avx512_clamp_make(&t->clamp);
    c.vector.skips = qepilogue_avx512_skips(&t->clamp, scale, 4 * QT_NR);
    c.plain = t->mode == QT_U8;
    if (c.plain && (t->q.lut || t->q.residual))
        c.after = vbmi ? qepilogue_avx512_after_vbmi : qepilogue_avx512_after_bw;
    return c;
}

/*
 * What a loop that does something else in between needs to turn sums into bytes, a vector at a time: in registers, if
 * it is a local variable.  Without residual, u8 only, scales small.
 */
typedef struct {
    qepilogue_avx512_vector to;
    const uint8_t *lut;
    __mmask64 mask;
    size_t last; /* where a row's last vector of sums begins */
    int dense;   /* rows of a vector lie side by side */
} qepilogue_avx512_piece;

/* Whether pieces suffice. */
static inline int qepilogue_avx512_in_pieces(const qepilogue_avx512_columns *c)
{
    return c->plain && !c->tail->q.residual && (c->vector.skips & QT_SMALL) &&
           (!c->after || c->after == qepilogue_avx512_after_vbmi);
}

PCX_INLINE qepilogue_avx512_piece qepilogue_avx512_piece_make(const qepilogue_avx512_columns *c, size_t ldo)
{
    const size_t width = 64 / (size_t)c->per;
    return (qepilogue_avx512_piece){ c->vector, c->tail->q.lut, c->mask, (ceil_div(c->cols, QT_NR) - 1) * QT_NR,
                                     c->cols == width && ldo == width };
}

/* A vector's bytes to the first `rows` of its `per` rows. */
PCX_INLINE void qepilogue_avx512_piece_store(const qepilogue_avx512_piece *p, const int per, size_t rows, __m512i bytes,
                                             uint8_t *out, size_t ldo)
{
    if (per > 1 && p->dense && rows == (size_t)per)
        _mm512_storeu_si512(out, qepilogue_avx512_turn(bytes));
    else
        qepilogue_avx512_put(per, rows, out, ldo, p->mask, qepilogue_avx512_turn(bytes));
}

PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")

/* `per` whole rows of sums, 64 / per from row to row, to `out`. */
PCX_INLINE void qepilogue_avx512_piece_put(const qepilogue_avx512_piece *p, const int per, const int32_t *sum,
                                           uint8_t *out, size_t ldo)
{
    __m512i acc[4];
    PCX_UNROLL for (size_t x = 0; x < 4; x++)
        acc[x] = _mm512_loadu_si512(sum + (per == 1 ? min_size(x * QT_NR, p->last) : x * QT_NR));
    __m512i bytes = qepilogue_avx512_sums(&p->to, acc);
    if (p->lut)
        bytes = qepilogue_avx512_table_vbmi(p->lut, bytes);
    qepilogue_avx512_piece_store(p, per, (size_t)per, bytes, out, ldo);
}

PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")

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
static PCX_NOINLINE PCX_MAYBE_UNUSED void qepilogue_avx512_wide_rows(const qepilogue_avx512_columns *c, size_t i,
                                                                     size_t rows, const int32_t *sum, size_t lds,
                                                                     uint8_t *out, size_t ldo)
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

/*
 * Rows [i, i + rows) of sums, lds apart, to `out`, rows ldo bytes apart.  round_up(cols, 16) sums of each row are read.
 */
static PCX_NOINLINE PCX_MAYBE_UNUSED void qepilogue_avx512_rows(const qepilogue_avx512_columns *c, size_t i,
                                                                size_t rows, const int32_t *sum, size_t lds,
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
#endif
