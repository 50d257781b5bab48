/* qepilogue_avx2.h - qepilogue.h on AVX2: rows of sums to the output, 32 bytes at a time. */
#ifndef PCX_QEPILOGUE_AVX2_H
#define PCX_QEPILOGUE_AVX2_H

#include "qepilogue.h"

#if PCX_X86
#include <immintrin.h>
PCX_TARGET("avx2,fma")

/* A qepilogue_clamp in registers. */
typedef struct {
    __m256 high;
    __m256i zero, min, max;
} qepilogue_avx2_clamp;

PCX_INLINE qepilogue_avx2_clamp qepilogue_avx2_clamp_make(const qepilogue_clamp *c)
{
    return (qepilogue_avx2_clamp){ _mm256_set1_ps(c->high), _mm256_set1_epi16((int16_t)c->zero),
                            _mm256_set1_epi8((char)c->min), _mm256_set1_epi8((char)c->max) };
}

/*
 * Whether float(acc) * scale stays below 2^31 for `count` scales and any acc: then the conversion
 * to integers cannot overflow and needs no clamping before it.  NaN is not small.
 */
PCX_INLINE int qepilogue_avx2_is_small(const float *scale, int count)
{
    __m256 ok = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (int x = 0; x < count; x += 8) {
        const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_loadu_ps(scale + x));
        ok = _mm256_and_ps(ok, _mm256_cmp_ps(size, _mm256_set1_ps(1.0f), _CMP_LT_OQ));
    }
    return _mm256_movemask_ps(ok) == 255;
}

PCX_INLINE int qepilogue_avx2_skips(const qepilogue_clamp *c, const float *scale, int count)
{
    return QT_SMALL * qepilogue_avx2_is_small(scale, count) | QT_NO_ZERO * (c->zero == 0) |
           QT_NO_CLAMP * (c->min == 0 && c->max == 255);
}

/*
 * Four vectors of floats to 32 bytes, by 128-bit halves: the four lower halves, the four upper ones.
 * Floats that are too low become INT32_MIN or stay, and saturate later; with QT_SMALL, so do floats that are too high.
 */
PCX_INLINE __m256i qepilogue_avx2_bytes(const __m256 v[4], const qepilogue_avx2_clamp *c, int skips)
{
    __m256i q[4];
    if (skips & QT_SMALL)
        PCX_UNROLL for (int x = 0; x < 4; x++)
            q[x] = _mm256_cvtps_epi32(v[x]);
    else
        PCX_UNROLL for (int x = 0; x < 4; x++)
            q[x] = _mm256_cvtps_epi32(_mm256_min_ps(v[x], c->high));
    __m256i first = _mm256_packs_epi32(q[0], q[1]), second = _mm256_packs_epi32(q[2], q[3]);
    if (!(skips & QT_NO_ZERO)) {
        first = _mm256_adds_epi16(first, c->zero);
        second = _mm256_adds_epi16(second, c->zero);
    }
    const __m256i bytes = _mm256_packus_epi16(first, second);
    if (skips & QT_NO_CLAMP)
        return bytes;
    return _mm256_max_epu8(_mm256_min_epu8(bytes, c->max), c->min);
}

/* The bytes of two rows of 16 floats, each two vectors, in order. */
PCX_INLINE __m256i qepilogue_avx2_in_order(__m256i bytes)
{
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Any two rows of 16 floats to bytes in order. */
PCX_INLINE __m256i qepilogue_avx2_clamp_rows(const __m256 v[4], const qepilogue_clamp *c)
{
    const qepilogue_avx2_clamp clamp = qepilogue_avx2_clamp_make(c);
    return qepilogue_avx2_in_order(qepilogue_avx2_bytes(v, &clamp, 0));
}

/* 16 bytes less zero, times scale, as two vectors. */
PCX_INLINE void qepilogue_avx2_unpack(__m128i bytes, int32_t zero, float scale, __m256 v[2])
{
    const __m256i z = _mm256_set1_epi32(zero);
    const __m256 s = _mm256_set1_ps(scale);
    v[0] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), z)), s);
    bytes = _mm_srli_si128(bytes, 8);
    v[1] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), z)), s);
}

/*
 * Table look-up of 32 bytes.  vpshufb selects by the low four bits, and gives 0 if the byte is negative.  With
 * x - 16 i, saturated, as its index, only the rises up to x are selected, and their XOR is the entry.  Bytes from
 * 128 on are looked up separately in the same way.
 */
PCX_INLINE __m256i qepilogue_avx2_table(const uint8_t rise[256], __m256i x)
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

/* Rows of 16 or (`wide`) 32 bytes with stride ldo through the table, in place. */
static PCX_NOINLINE PCX_MAYBE_UNUSED void qepilogue_avx2_lut(const uint8_t *rise, uint8_t *row, size_t rows, size_t ldo,
                                                             const int wide)
{
    const size_t each = wide ? 1 : 2;
    for (size_t r = 0; r < rows; r += each, row += each * ldo) {
        uint8_t *high = wide ? row + QT_NR : r + 1 < rows ? row + ldo : row;
        const __m128i x0 = _mm_loadu_si128((const __m128i *)row), x1 = _mm_loadu_si128((const __m128i *)high);
        const __m256i y = qepilogue_avx2_table(rise, _mm256_inserti128_si256(_mm256_castsi128_si256(x0), x1, 1));
        _mm_storeu_si128((__m128i *)row, _mm256_castsi256_si128(y));
        _mm_storeu_si128((__m128i *)high, _mm256_extracti128_si256(y, 1));
    }
}

/* r0 and r1 are the residuals of the lower and the upper 16 bytes. */
PCX_INLINE __m256i qepilogue_avx2_add(const qepilogue *t, __m256i bytes, __m128i r0, __m128i r1)
{
    __m256 mine[4], residual[4];
    qepilogue_avx2_unpack(_mm256_castsi256_si128(bytes), t->add_zero[0], t->add_scale[0], mine);
    qepilogue_avx2_unpack(_mm256_extracti128_si256(bytes, 1), t->add_zero[0], t->add_scale[0], mine + 2);
    qepilogue_avx2_unpack(r0, t->add_zero[1], t->add_scale[1], residual);
    qepilogue_avx2_unpack(r1, t->add_zero[1], t->add_scale[1], residual + 2);
    PCX_UNROLL for (int x = 0; x < 4; x++)
        mine[x] = _mm256_add_ps(mine[x], residual[x]);
    return qepilogue_avx2_clamp_rows(mine, &t->add);
}

/* The epilogue of 16 columns, kept from tile to tile. */
typedef struct {
    const qepilogue *tail;
    size_t j, cols;       /* columns [j, j + cols), at most 16 */
    float scale[QT_NR];   /* zero beyond cols */
    int skips;           /* QT_SMALL ... */
    int plain;            /* to u8, all 16, without both table and residual */
    int half, narrow;     /* to u8, without table: 8; less */
    const uint8_t *rise; /* the tail's, or NULL where there is no table */
    qepilogue_avx2_clamp clamp;
} qepilogue_avx2_columns;

/* qepilogue_avx2.c: rows [i, i + rows) of sums to int32 or floats; and qepilogue_row for this ISA. */
PCX_HIDDEN void qepilogue_avx2_wide_rows(const qepilogue_avx2_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR],
                                         uint8_t *out, size_t ldo);
PCX_HIDDEN void qepilogue_avx2_any_row(const qepilogue *t, size_t i, size_t j, size_t cols, const int32_t *acc,
                                       void *out);

static inline qepilogue_avx2_columns qepilogue_avx2_columns_make(const qepilogue *t, size_t j, size_t cols)
{
    qepilogue_avx2_columns c = { .tail = t, .j = j, .cols = cols, .clamp = qepilogue_avx2_clamp_make(&t->clamp) };
    if (t->scale)
        memcpy(c.scale, t->scale + j, cols * sizeof *c.scale);
    c.skips = qepilogue_avx2_skips(&t->clamp, c.scale, QT_NR);
    c.rise = t->q.lut ? t->rise : NULL;
    c.plain = t->mode == QT_U8 && cols == QT_NR && !(t->q.lut && t->q.residual);
    c.half = t->mode == QT_U8 && cols == QT_NR / 2 && !t->q.lut;
    c.narrow = t->mode == QT_U8 && cols < QT_NR / 2 && !t->q.lut;
    return c;
}

/* Two rows of sums, each two vectors, to bytes, without table and residual. */
PCX_INLINE __m256i qepilogue_avx2_sums(const qepilogue_avx2_columns *c, const __m256i acc[4])
{
    __m256 v[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[x]), _mm256_loadu_ps(c->scale + x % 2 * 8));
    return qepilogue_avx2_in_order(qepilogue_avx2_bytes(v, &c->clamp, c->skips));
}

PCX_INLINE __m256i qepilogue_avx2_two(const qepilogue_avx2_columns *c, const int32_t *row0, const int32_t *row1)
{
    const int32_t *const at[4] = { row0, row0 + 8, row1, row1 + 8 };
    __m256i acc[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        acc[x] = _mm256_loadu_si256((const __m256i *)at[x]);
    return qepilogue_avx2_sums(c, acc);
}

/* Two rows of bytes, added to those of `residual` unless NULL, to `out`. */
PCX_INLINE void qepilogue_avx2_put(const qepilogue_avx2_columns *c, __m256i bytes, const uint8_t *residual, int two,
                                   uint8_t *out, size_t ldo)
{
    if (residual) {
        const __m128i r0 = _mm_loadu_si128((const __m128i *)residual);
        const __m128i r1 = two ? _mm_loadu_si128((const __m128i *)(residual + c->tail->q.ldr)) : r0;
        bytes = qepilogue_avx2_add(c->tail, bytes, r0, r1);
    }
    _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(bytes));
    if (two)
        _mm_storeu_si128((__m128i *)(out + ldo), _mm256_extracti128_si256(bytes, 1));
}

PCX_INLINE __m128i qepilogue_avx2_eights(const uint8_t *low, const uint8_t *high)
{
    return _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)low), _mm_loadl_epi64((const __m128i *)high));
}

PCX_INLINE void qepilogue_avx2_put_eights(uint8_t *low, uint8_t *high, __m128i bytes)
{
    _mm_storel_epi64((__m128i *)low, bytes);
    _mm_storel_epi64((__m128i *)high, _mm_unpackhi_epi64(bytes, bytes));
}

/* `cols` bytes, one to eight, by two loads that overlap; and from a number to memory. */
PCX_INLINE uint64_t qepilogue_avx2_some(const uint8_t *p, size_t cols)
{
    uint32_t first = p[0], last = p[cols - 1];
    if (cols == 8) {
        uint64_t all;
        memcpy(&all, p, sizeof all);
        return all;
    }
    if (cols >= 4) {
        memcpy(&first, p, 4);
        memcpy(&last, p + cols - 4, 4);
        return first | (uint64_t)last << (cols - 4) * 8;
    }
    return first | (uint32_t)p[cols / 2] << cols / 2 * 8 | last << (cols - 1) * 8;
}

PCX_INLINE void qepilogue_avx2_put_some(uint8_t *p, uint64_t bytes, size_t cols)
{
    if (cols == 8) {
        memcpy(p, &bytes, sizeof bytes);
    } else if (cols >= 4) {
        const uint32_t first = (uint32_t)bytes, last = (uint32_t)(bytes >> (cols - 4) * 8);
        memcpy(p, &first, 4);
        memcpy(p + cols - 4, &last, 4);
    } else {
        p[0] = (uint8_t)bytes;
        p[cols / 2] = (uint8_t)(bytes >> cols / 2 * 8);
        p[cols - 1] = (uint8_t)(bytes >> (cols - 1) * 8);
    }
}

/* The same for up to 16. */
PCX_INLINE __m128i qepilogue_avx2_load(const uint8_t *p, size_t cols)
{
    if (cols <= 8)
        return _mm_cvtsi64_si128((int64_t)qepilogue_avx2_some(p, cols));
    const uint64_t last = qepilogue_avx2_some(p + cols - 8, 8) >> (16 - cols) * 8;
    return _mm_set_epi64x((int64_t)last, (int64_t)qepilogue_avx2_some(p, 8));
}

PCX_INLINE void qepilogue_avx2_store(uint8_t *p, __m128i bytes, size_t cols)
{
    const uint64_t low = (uint64_t)_mm_cvtsi128_si64(bytes), high = (uint64_t)_mm_extract_epi64(bytes, 1);
    if (cols <= 8) {
        qepilogue_avx2_put_some(p, low, cols);
        return;
    }
    qepilogue_avx2_put_some(p, low, 8);
    qepilogue_avx2_put_some(p + cols - 8, cols == 16 ? high : low >> (cols - 8) * 8 | high << (16 - cols) * 8, 8);
}

/* Four rows of eight bytes, of which less are there. */
static PCX_NOINLINE PCX_MAYBE_UNUSED void qepilogue_avx2_put_narrow(const qepilogue_avx2_columns *c, __m256i bytes,
                                                                    const uint8_t *const *residual, uint8_t *const *out)
{
    uint64_t rows[4];
    if (residual) {
        PCX_UNROLL for (int x = 0; x < 4; x++)
            rows[x] = qepilogue_avx2_some(residual[x], c->cols);
        const __m128i low = _mm_loadu_si128((const __m128i *)rows), high = _mm_loadu_si128((const __m128i *)(rows + 2));
        bytes = qepilogue_avx2_add(c->tail, bytes, low, high);
    }
    _mm256_storeu_si256((__m256i *)rows, bytes);
    PCX_UNROLL for (int x = 0; x < 4; x++)
        qepilogue_avx2_put_some(out[x], rows[x], c->cols);
}

/* Four rows of the sums of up to eight columns to bytes at out[r], and with those of residual[r] unless NULL. */
PCX_INLINE void qepilogue_avx2_put_half(const qepilogue_avx2_columns *c, const __m256i acc[4],
                                        const uint8_t *const *residual, uint8_t *const *out)
{
    const __m256 scale = _mm256_loadu_ps(c->scale);
    __m256 v[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[x]), scale);
    __m256i bytes = qepilogue_avx2_in_order(qepilogue_avx2_bytes(v, &c->clamp, c->skips));
    if (!PCX_LIKELY(c->half)) {
        qepilogue_avx2_put_narrow(c, bytes, residual, out);
        return;
    }
    if (residual)
        bytes = qepilogue_avx2_add(c->tail, bytes, qepilogue_avx2_eights(residual[0], residual[1]),
                                   qepilogue_avx2_eights(residual[2], residual[3]));
    qepilogue_avx2_put_eights(out[0], out[1], _mm256_castsi256_si128(bytes));
    qepilogue_avx2_put_eights(out[2], out[3], _mm256_extracti128_si256(bytes, 1));
}

/* The residual of row i, or NULL. */
PCX_INLINE const uint8_t *qepilogue_avx2_residual(const qepilogue_avx2_columns *c, size_t i)
{
    const pcx_qoutput *q = &c->tail->q;
    return q->residual ? q->residual + i * q->ldr + c->j : NULL;
}

/*
 * As qepilogue_avx2_rows, for any epilogue.  Tiles call it, so it is in their file: there compilers know which registers
 * a call leaves alone.
 */
static PCX_NOINLINE void qepilogue_avx2_any_rows(const qepilogue_avx2_columns *c, size_t i, size_t rows,
                                                 int32_t sum[][QT_NR], uint8_t *out, size_t ldo)
{
    const qepilogue *t = c->tail;
    const uint8_t *residual = qepilogue_avx2_residual(c, i);
    if (t->mode != QT_U8) {
        qepilogue_avx2_wide_rows(c, i, rows, sum, out, ldo);
        return;
    }
    for (size_t r = 0; r < rows; r += 2) {
        const size_t next = r + 1 < rows ? r + 1 : r;
        __m256i bytes = qepilogue_avx2_two(c, sum[r], sum[next]);
        if (c->rise)
            bytes = qepilogue_avx2_table(c->rise, bytes);
        if (residual)
            bytes = qepilogue_avx2_add(t, bytes, qepilogue_avx2_load(residual + r * t->q.ldr, c->cols),
                                       qepilogue_avx2_load(residual + next * t->q.ldr, c->cols));
        qepilogue_avx2_store(out + r * ldo, _mm256_castsi256_si128(bytes), c->cols);
        qepilogue_avx2_store(out + next * ldo, _mm256_extracti128_si256(bytes, 1), c->cols); /* of an odd row again */
    }
}

/* As qepilogue_avx2_rows, if the epilogue is plain. */
PCX_INLINE void qepilogue_avx2_plain_rows(const qepilogue_avx2_columns *c, const size_t most, size_t i, size_t rows,
                                          int32_t sum[][QT_NR], uint8_t *out, size_t ldo)
{
    const uint8_t *residual = qepilogue_avx2_residual(c, i);
    const size_t next = residual ? 2 * c->tail->q.ldr : 0;
    PCX_UNROLL for (size_t r = 0; r < most; r += 2, residual += next) {
        if (r >= rows)
            break;
        qepilogue_avx2_put(c, qepilogue_avx2_two(c, sum[r], sum[r + 1]), residual, r + 1 < rows, out + r * ldo, ldo);
    }
    if (c->rise)
        qepilogue_avx2_lut(c->rise, out, rows, ldo, 0);
}

/*
 * Rows [i, i + rows) of sums, of an even number that may be read, to `out`, rows ldo bytes apart.  `most`: how many rows
 * there may be, even, a constant: code for so many is made.
 */
PCX_INLINE void qepilogue_avx2_rows(const qepilogue_avx2_columns *c, const size_t most, size_t i, size_t rows,
                                    int32_t sum[][QT_NR], uint8_t *out, size_t ldo)
{
    if (c->plain)
        qepilogue_avx2_plain_rows(c, most, i, rows, sum, out, ldo);
    else
        qepilogue_avx2_any_rows(c, i, rows, sum, out, ldo);
}

PCX_TARGET_END
#endif
#endif
