/*
 * qepilogue.h - from exact int32 sums to the output, for every integer kernel.
 *
 * The scalar and the AVX2 text do the same float operations in the same order: products and
 * sums are rounded one by one, clamping comes before the conversion to an integer (where CPUs
 * differ on overflow), `x < high ? x : high` sends NaN to `high` as minps does.
 */
#ifndef PCX_QEPILOGUE_H
#define PCX_QEPILOGUE_H

#include "act.h"

enum { QT_NR = 16 }; /* sums come in rows of so many columns */

enum { QT_ZERO, QT_U8, QT_I32, QT_F32 };

/* round(v) + zero, held in [least, greatest]: the float bounds are those before the zero point. */
typedef struct {
    float low, high;
    int32_t zero, least, greatest;
} qt_clamp;

/* A pcx_qepilogue made ready.  `mode` is QT_ZERO where an argument that it needs is missing. */
typedef struct {
    pcx_qepilogue q;
    int mode;
    size_t bytes; /* of one output element */
    qt_clamp clamp, add;
    float add_scale[2];
    int32_t add_zero[2];
} qtail;

static inline int32_t qt_u8(int32_t x) { return x < 0 ? 0 : x > 255 ? 255 : x; }

static inline qt_clamp qt_make_clamp(const int32_t *zero_least_greatest)
{
    const int32_t zero = qt_u8(zero_least_greatest[0]), least = qt_u8(zero_least_greatest[1]);
    const int32_t greatest = qt_u8(zero_least_greatest[2]);
    return (qt_clamp){ (float)(least - zero), (float)(greatest - zero), zero, least, greatest };
}

static inline qtail qtail_make(const pcx_qepilogue *q, size_t dtype)
{
    qtail t = { .q = *q, .mode = QT_ZERO, .bytes = pcx_dtype_bytes(dtype) };
    if (dtype == PCX_I32)
        t.mode = QT_I32;
    if (dtype == PCX_F32 && q->scale)
        t.mode = QT_F32;
    if (dtype == PCX_U8 && q->scale && q->clamp) {
        t.mode = QT_U8;
        t.clamp = qt_make_clamp(q->clamp);
    }
    if (t.mode == QT_U8 && q->residual && q->add_scale && q->add_zero) {
        memcpy(t.add_scale, q->add_scale, sizeof t.add_scale);
        memcpy(t.add_zero, q->add_zero, sizeof t.add_zero);
        t.add = qt_make_clamp(q->add_zero + 2);
    } else {
        t.q.residual = NULL;
    }
    return t;
}

static inline int32_t qt_round(float v, const qt_clamp *c)
{
    v = v < c->high ? v : c->high;
    v = v > c->low ? v : c->low;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to the nearest even integer */
    return (int32_t)((v + magic) - magic) + c->zero;
}

/* Columns [j, j + cols) of row i: acc[0..cols) to `out`, the place of element (i, j). */
static inline void qtail_row(const qtail *t, size_t i, size_t j, size_t cols, const int32_t *acc, void *out)
{
    uint8_t *bytes = out;
    float *floats = out;
    switch (t->mode) {
    case QT_I32: memcpy(out, acc, cols * sizeof *acc); return;
    case QT_F32:
        for (size_t c = 0; c < cols; c++)
            floats[c] = pcx_act((float)acc[c] * t->q.scale[j + c], t->q.act, t->q.act_params);
        return;
    case QT_U8:
        for (size_t c = 0; c < cols; c++)
            bytes[c] = (uint8_t)qt_round((float)acc[c] * t->q.scale[j + c], &t->clamp);
        if (t->q.lut)
            for (size_t c = 0; c < cols; c++)
                bytes[c] = t->q.lut[bytes[c]];
        if (t->q.residual) {
            const uint8_t *r = t->q.residual + i * t->q.ldr + j;
            for (size_t c = 0; c < cols; c++) {
                const float mine = (float)(int32_t)((uint32_t)bytes[c] - (uint32_t)t->add_zero[0]) * t->add_scale[0];
                const float theirs = (float)(int32_t)((uint32_t)r[c] - (uint32_t)t->add_zero[1]) * t->add_scale[1];
                bytes[c] = (uint8_t)qt_round(mine + theirs, &t->add);
            }
        }
        return;
    default: memset(out, 0, cols * t->bytes);
    }
}

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

/*
 * Four vectors of floats to 32 bytes, by 128-bit halves: the four lower halves, the four upper ones.
 * Too low a float becomes INT32_MIN or stays, and saturates on its way; `small`: so does too high a one.
 */
PCX_INLINE __m256i qt_bytes_avx2(const __m256 v[4], const qt_clamp_avx2 *c, int small)
{
    __m256i q[4];
    if (small)
        PCX_UNROLL for (int x = 0; x < 4; x++)
            q[x] = _mm256_cvtps_epi32(v[x]);
    else
        PCX_UNROLL for (int x = 0; x < 4; x++)
            q[x] = _mm256_cvtps_epi32(_mm256_min_ps(v[x], c->high));
    const __m256i first = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), c->zero);
    const __m256i second = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), c->zero);
    return _mm256_max_epu8(_mm256_min_epu8(_mm256_packus_epi16(first, second), c->greatest), c->least);
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

PCX_INLINE __m128i qt_load(const uint8_t *from, size_t cols)
{
    if (PCX_LIKELY(cols == QT_NR))
        return _mm_loadu_si128((const __m128i *)from);
    uint8_t whole[QT_NR] = { 0 };
    memcpy(whole, from, cols);
    return _mm_loadu_si128((const __m128i *)whole);
}

PCX_INLINE void qt_store(uint8_t *to, size_t cols, __m128i bytes)
{
    if (PCX_LIKELY(cols == QT_NR)) {
        _mm_storeu_si128((__m128i *)to, bytes);
    } else {
        uint8_t whole[QT_NR];
        _mm_storeu_si128((__m128i *)whole, bytes);
        memcpy(to, whole, cols);
    }
}

/* Kept out of line: the compiler would take `bytes` apart in registers. */
static PCX_NOINLINE void qt_lut(const uint8_t *lut, uint8_t *bytes, size_t count)
{
    for (size_t c = 0; c < count; c++)
        bytes[c] = lut[bytes[c]];
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

/*
 * Rows [i, i + rows), columns [j, j + cols): sum[r][c] to out + (r * ldo + c) elements.
 * `scale` holds 16 of q.scale from j on, `small` is qt_small_avx2 of them.
 */
static inline void qtail_rows_avx2(const qtail *t, size_t i, size_t j, size_t rows, size_t cols, int32_t sum[][QT_NR],
                                   const float *scale, int small, void *out, size_t ldo)
{
    if (t->mode != QT_U8) {
        for (size_t r = 0; r < rows; r++)
            qtail_row(t, i + r, j, cols, sum[r], (uint8_t *)out + r * ldo * t->bytes);
        return;
    }
    const qt_clamp_avx2 clamp = qt_load_clamp(&t->clamp);
    const __m256 s0 = _mm256_loadu_ps(scale), s1 = _mm256_loadu_ps(scale + 8);
    const uint8_t *const lut = t->q.lut, *const residual = t->q.residual;
    for (size_t r = 0; r < rows; r += 2) {
        const size_t next = r + 1 < rows ? r + 1 : r;
        uint8_t *o0 = (uint8_t *)out + r * ldo, *o1 = (uint8_t *)out + next * ldo;
        __m256 v[4];
        PCX_UNROLL for (int x = 0; x < 4; x++) {
            const __m256i acc = _mm256_loadu_si256((const __m256i *)&sum[x < 2 ? r : next][x % 2 * 8]);
            v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), x % 2 ? s1 : s0);
        }
        __m256i bytes = qt_in_order_avx2(qt_bytes_avx2(v, &clamp, small));
        if (lut) {
            uint8_t each[2 * QT_NR];
            _mm256_storeu_si256((__m256i *)each, bytes);
            qt_lut(lut, each, sizeof each);
            bytes = _mm256_loadu_si256((const __m256i *)each);
        }
        if (residual) {
            const uint8_t *r0 = residual + (i + r) * t->q.ldr + j, *r1 = r0 + (next - r) * t->q.ldr;
            bytes = qt_residual_avx2(t, bytes, qt_load(r0, cols), qt_load(r1, cols));
        }
        if (next != r)
            qt_store(o1, cols, _mm256_extracti128_si256(bytes, 1));
        qt_store(o0, cols, _mm256_castsi256_si128(bytes));
    }
}

PCX_TARGET_END
#endif
#endif
