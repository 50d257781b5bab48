/* qepilogue_avx2.h - qepilogue.h on AVX2: rows of sums to the output, 32 bytes at a time. */
#ifndef PCX_QEPILOGUE_AVX2_H
#define PCX_QEPILOGUE_AVX2_H

#include "qepilogue.h"

#if PCX_X86
#include <immintrin.h>
PCX_TARGET("avx2,fma")

/* A qt_clamp in registers. */
typedef struct {
    __m256 high;
    __m256i zero, least, greatest;
} qt_clamp_avx2;

PCX_INLINE qt_clamp_avx2 qt_load_clamp(const qt_clamp *c)
{
    return (qt_clamp_avx2){ _mm256_set1_ps(c->high), _mm256_set1_epi16((int16_t)c->zero),
                            _mm256_set1_epi8((char)c->least), _mm256_set1_epi8((char)c->greatest) };
}

/*
 * Whether float(acc) * scale stays below 2^31 for `count` scales and any acc: then the conversion
 * to integers cannot overflow upwards and needs no clamping before it.  NaN is not small.
 */
PCX_INLINE int qt_small_avx2(const float *scale, int count)
{
    __m256 ok = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (int x = 0; x < count; x += 8) {
        const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_loadu_ps(scale + x));
        ok = _mm256_and_ps(ok, _mm256_cmp_ps(size, _mm256_set1_ps(1.0f), _CMP_LT_OQ));
    }
    return _mm256_movemask_ps(ok) == 255;
}

/* What a tail need not do: clamp before the conversion (qt_small_avx2); add zero; clamp after it, to 0 and 255. */
enum { QT_SMALL = 1, QT_NO_ZERO = 2, QT_NO_CLAMP = 4 };

PCX_INLINE int qt_spared_avx2(const qt_clamp *c, const float *scale, int count)
{
    return QT_SMALL * qt_small_avx2(scale, count) | QT_NO_ZERO * (c->zero == 0) |
           QT_NO_CLAMP * (c->least == 0 && c->greatest == 255);
}

/*
 * Four vectors of floats to 32 bytes, by 128-bit halves: the four lower halves, the four upper ones.
 * Too low a float becomes INT32_MIN or stays, and saturates on its way; with QT_SMALL, so does too high a one.
 */
PCX_INLINE __m256i qt_bytes_avx2(const __m256 v[4], const qt_clamp_avx2 *c, int spared)
{
    __m256i q[4];
    if (spared & QT_SMALL)
        PCX_UNROLL for (int x = 0; x < 4; x++)
            q[x] = _mm256_cvtps_epi32(v[x]);
    else
        PCX_UNROLL for (int x = 0; x < 4; x++)
            q[x] = _mm256_cvtps_epi32(_mm256_min_ps(v[x], c->high));
    __m256i first = _mm256_packs_epi32(q[0], q[1]), second = _mm256_packs_epi32(q[2], q[3]);
    if (!(spared & QT_NO_ZERO)) {
        first = _mm256_adds_epi16(first, c->zero);
        second = _mm256_adds_epi16(second, c->zero);
    }
    const __m256i bytes = _mm256_packus_epi16(first, second);
    if (spared & QT_NO_CLAMP)
        return bytes;
    return _mm256_max_epu8(_mm256_min_epu8(bytes, c->greatest), c->least);
}

/* The bytes of two rows of 16 floats, each two vectors, in order. */
PCX_INLINE __m256i qt_in_order_avx2(__m256i bytes)
{
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Any two rows of 16 floats to bytes in order. */
PCX_INLINE __m256i qt_rows_avx2(const __m256 v[4], const qt_clamp *c)
{
    const qt_clamp_avx2 clamp = qt_load_clamp(c);
    return qt_in_order_avx2(qt_bytes_avx2(v, &clamp, 0));
}

/* 16 bytes less zero, times scale, as two vectors. */
PCX_INLINE void qt_unpack_avx2(__m128i bytes, int32_t zero, float scale, __m256 v[2])
{
    const __m256i z = _mm256_set1_epi32(zero);
    const __m256 s = _mm256_set1_ps(scale);
    v[0] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), z)), s);
    bytes = _mm_srli_si128(bytes, 8);
    v[1] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), z)), s);
}

/*
 * A table's values of 32 bytes.  vpshufb gives the entry of the low four bits, or 0 where the byte is negative.  So
 * with x - 16 i, saturated, as its index the rises up to x count and no others, and their XOR is the entry; bytes from
 * 128 on do the same apart.
 */
PCX_INLINE __m256i qt_table_avx2(const uint8_t rise[256], __m256i x)
{
    const __m256i step = _mm256_set1_epi8(16);
    __m256i at[2] = { x, _mm256_xor_si256(x, _mm256_set1_epi8((char)128)) }, y[2];
    PCX_UNROLL for (int i = 0; i < 8; i++)
        PCX_UNROLL for (int half = 0; half < 2; half++) {
            const __m128i *entries = (const __m128i *)(const void *)(rise + 128 * half + 16 * i);
            const __m256i some = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(entries)), at[half]);
            y[half] = i ? _mm256_xor_si256(y[half], some) : some;
            at[half] = _mm256_subs_epi8(at[half], step);
        }
    return _mm256_xor_si256(y[0], y[1]);
}

/* Rows of 16 or, `wide`, 32 bytes, ldo apart, through the table, in place. */
static PCX_NOINLINE PCX_MAYBE_UNUSED void qt_lut_avx2(const uint8_t *rise, uint8_t *row, size_t rows, size_t ldo,
                                                      const int wide)
{
    const size_t each = wide ? 1 : 2;
    for (size_t r = 0; r < rows; r += each, row += each * ldo) {
        uint8_t *high = wide ? row + QT_NR : r + 1 < rows ? row + ldo : row;
        const __m128i x0 = _mm_loadu_si128((const __m128i *)row), x1 = _mm_loadu_si128((const __m128i *)high);
        const __m256i y = qt_table_avx2(rise, _mm256_inserti128_si256(_mm256_castsi128_si256(x0), x1, 1));
        _mm_storeu_si128((__m128i *)row, _mm256_castsi256_si128(y));
        _mm_storeu_si128((__m128i *)high, _mm256_extracti128_si256(y, 1));
    }
}

/* r0 and r1 are the other summands of the lower and the upper 16 bytes. */
PCX_INLINE __m256i qt_residual_avx2(const qtail *t, __m256i bytes, __m128i r0, __m128i r1)
{
    __m256 mine[4], theirs[4];
    qt_unpack_avx2(_mm256_castsi256_si128(bytes), t->add_zero[0], t->add_scale[0], mine);
    qt_unpack_avx2(_mm256_extracti128_si256(bytes, 1), t->add_zero[0], t->add_scale[0], mine + 2);
    qt_unpack_avx2(r0, t->add_zero[1], t->add_scale[1], theirs);
    qt_unpack_avx2(r1, t->add_zero[1], t->add_scale[1], theirs + 2);
    PCX_UNROLL for (int x = 0; x < 4; x++)
        mine[x] = _mm256_add_ps(mine[x], theirs[x]);
    return qt_rows_avx2(mine, &t->add);
}

/* Sums of 16 columns and what finishes them, kept at hand from tile to tile. */
typedef struct {
    const qtail *tail;
    size_t j, cols;       /* columns [j, j + cols), at most 16 */
    float scale[QT_NR];   /* zero beyond cols */
    int spared;           /* QT_SMALL ... */
    int plain, half;      /* to u8, without both table and residual: all 16; 8, without table */
    const uint8_t *rise; /* the tail's, or NULL where there is no table */
    qt_clamp_avx2 clamp;
} qt_columns;

static inline qt_columns qt_columns_make(const qtail *t, size_t j, size_t cols)
{
    qt_columns c = { .tail = t, .j = j, .cols = cols, .clamp = qt_load_clamp(&t->clamp) };
    if (t->scale)
        memcpy(c.scale, t->scale + j, cols * sizeof *c.scale);
    c.spared = qt_spared_avx2(&t->clamp, c.scale, QT_NR);
    c.rise = t->q.lut ? t->rise : NULL;
    c.plain = t->mode == QT_U8 && cols == QT_NR && !(t->q.lut && t->q.residual);
    c.half = t->mode == QT_U8 && cols == QT_NR / 2 && !t->q.lut;
    return c;
}

/* Two rows of sums, each two vectors, to bytes, still without table and residual. */
PCX_INLINE __m256i qt_sums_avx2(const qt_columns *c, const __m256i acc[4])
{
    __m256 v[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[x]), _mm256_loadu_ps(c->scale + x % 2 * 8));
    return qt_in_order_avx2(qt_bytes_avx2(v, &c->clamp, c->spared));
}

PCX_INLINE __m256i qt_two_avx2(const qt_columns *c, const int32_t *row0, const int32_t *row1)
{
    const int32_t *const at[4] = { row0, row0 + 8, row1, row1 + 8 };
    __m256i acc[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        acc[x] = _mm256_loadu_si256((const __m256i *)at[x]);
    return qt_sums_avx2(c, acc);
}

/* Two rows of bytes, added to those of `theirs` unless NULL, to `out`. */
PCX_INLINE void qt_put_avx2(const qt_columns *c, __m256i bytes, const uint8_t *theirs, int two, uint8_t *out, size_t ldo)
{
    if (theirs) {
        const __m128i r0 = _mm_loadu_si128((const __m128i *)theirs);
        const __m128i r1 = two ? _mm_loadu_si128((const __m128i *)(theirs + c->tail->q.ldr)) : r0;
        bytes = qt_residual_avx2(c->tail, bytes, r0, r1);
    }
    _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(bytes));
    if (two)
        _mm_storeu_si128((__m128i *)(out + ldo), _mm256_extracti128_si256(bytes, 1));
}

PCX_INLINE __m128i qt_eights(const uint8_t *low, const uint8_t *high)
{
    return _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)low), _mm_loadl_epi64((const __m128i *)high));
}

PCX_INLINE void qt_put_eights(uint8_t *low, uint8_t *high, __m128i bytes)
{
    _mm_storel_epi64((__m128i *)low, bytes);
    _mm_storel_epi64((__m128i *)high, _mm_unpackhi_epi64(bytes, bytes));
}

/* Four rows of the sums of eight columns to bytes at out[r], and with those of theirs[r] unless NULL. */
PCX_INLINE void qt_put_half_avx2(const qt_columns *c, const __m256i acc[4], const uint8_t *const *theirs,
                                 uint8_t *const *out)
{
    const __m256 scale = _mm256_loadu_ps(c->scale);
    __m256 v[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[x]), scale);
    __m256i bytes = qt_in_order_avx2(qt_bytes_avx2(v, &c->clamp, c->spared));
    if (theirs)
        bytes = qt_residual_avx2(c->tail, bytes, qt_eights(theirs[0], theirs[1]), qt_eights(theirs[2], theirs[3]));
    qt_put_eights(out[0], out[1], _mm256_castsi256_si128(bytes));
    qt_put_eights(out[2], out[3], _mm256_extracti128_si256(bytes, 1));
}

/* The other summands of row i, or NULL. */
PCX_INLINE const uint8_t *qt_theirs(const qt_columns *c, size_t i)
{
    const pcx_qoutput *q = &c->tail->q;
    return q->residual ? q->residual + i * q->ldr + c->j : NULL;
}

/* What qtail_rows_avx2 does, for any tail. */
static PCX_NOINLINE void qt_any_rows_avx2(const qt_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR], uint8_t *out,
                                          size_t ldo)
{
    const qtail *t = c->tail;
    for (size_t r = 0; r < rows; r++, out += ldo) {
        if (t->mode != QT_U8) {
            qtail_row(t, i + r, c->j, c->cols, sum[r], out);
            continue;
        }
        uint8_t each[2 * QT_NR], theirs[QT_NR] = { 0 };
        _mm256_storeu_si256((__m256i *)each, qt_two_avx2(c, sum[r], sum[r]));
        if (t->q.lut)
            for (int x = 0; x < QT_NR; x++)
                each[x] = t->q.lut[each[x]];
        if (t->q.residual) {
            memcpy(theirs, t->q.residual + (i + r) * t->q.ldr + c->j, c->cols);
            const __m128i other = _mm_loadu_si128((const __m128i *)theirs);
            const __m256i both = _mm256_loadu_si256((const __m256i *)each);
            _mm256_storeu_si256((__m256i *)each, qt_residual_avx2(t, both, other, other));
        }
        memcpy(out, each, c->cols);
    }
}

/* qtail_rows_avx2 where the tail is plain. */
PCX_INLINE void qtail_plain_avx2(const qt_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR], uint8_t *out,
                                 size_t ldo)
{
    const uint8_t *theirs = qt_theirs(c, i);
    const size_t next = theirs ? 2 * c->tail->q.ldr : 0;
    PCX_UNROLL for (size_t r = 0; r < rows; r += 2, theirs += next)
        qt_put_avx2(c, qt_two_avx2(c, sum[r], sum[r + 1]), theirs, r + 1 < rows, out + r * ldo, ldo);
    if (c->rise)
        qt_lut_avx2(c->rise, out, rows, ldo, 0);
}

/* Rows [i, i + rows) of sums, of an even number that may be read, to `out`, rows ldo bytes apart. */
static inline void qtail_rows_avx2(const qt_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR], uint8_t *out,
                                   size_t ldo)
{
    if (c->plain)
        qtail_plain_avx2(c, i, rows, sum, out, ldo);
    else
        qt_any_rows_avx2(c, i, rows, sum, out, ldo);
}

PCX_TARGET_END
#endif
#endif
