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

/* qepilogue_avx512.c: what is not inlined.  Values of `after`. */
PCX_HIDDEN void qepilogue_avx512_after_bw(const qepilogue_avx512_columns *c, size_t i, size_t rows,
                                          const __m512i *packed, uint8_t *out, size_t ldo);
PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi") /* as where it is defined: clang compares them */
PCX_HIDDEN void qepilogue_avx512_after_vbmi(const qepilogue_avx512_columns *c, size_t i, size_t rows,
                                            const __m512i *packed, uint8_t *out, size_t ldo);
PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
/*
 * Rows [i, i + rows) of sums, lds apart, to `out`, rows ldo bytes apart.  round_up(cols, 16) sums of each row are read.
 */
PCX_HIDDEN void qepilogue_avx512_rows(const qepilogue_avx512_columns *c, size_t i, size_t rows, const int32_t *sum,
                                      size_t lds, uint8_t *out, size_t ldo);

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
#endif
#endif
