/*
 * qgemm_few_avx512.h - products of up to four columns on 512-bit VNNI.
 *
 * A tile of 16 columns takes as long however many of them count. Here vectors lie along k instead. They have parts, for the
 * columns, or, of one column and short rows, for 1, 2 or 4 rows. The sums of several vectors are then added up across
 * their lanes together, and leave as the dense outputs of 16 rows, which are one row of 16 n to the epilogue: its vectors
 * are whole, too.
 */
#ifndef PCX_QGEMM_FEW_AVX512_H
#define PCX_QGEMM_FEW_AVX512_H

#include "../common/qepilogue_avx512.h"
#include "qgemm_block.h"
#include "qgemm_start_avx512.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")

enum { QGEMM_FEW = 4, QGEMM_FEW_ROWS = 16, QGEMM_FEW_K = 2048, QGEMM_FEW_WAITING = 24 };

/* The operands of tiles of 16 rows. */
typedef struct {
    int8_t w[QGEMM_FEW * QGEMM_FEW_K]; /* vectors of weights: 64 / parts of each column, zero beyond k */
    __m512i order, start;              /* of a vector's sums: to rows of outputs; where these start */
    size_t k;                          /* bytes of a row, with padding to whole steps */
} qgemm_few;

/* `width` bytes of the row at a, so many as are there, for each column. */
PCX_INLINE __m512i qgemm_few_repeat(const int parts, const uint8_t *a, __mmask64 there)
{
    if (parts == 1)
        return _mm512_maskz_loadu_epi8(there, a);
    return parts == 2 ? _mm512_broadcast_i64x4(_mm256_maskz_loadu_epi8((__mmask32)there, a))
                      : _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8((__mmask16)there, a));
}

/* The rows that stand in row[0], row[apart] and so on, a part of the vector each. */
PCX_INLINE __m512i qgemm_few_join(const int parts, const uint8_t *const *row, size_t apart, __mmask64 there)
{
    if (parts == 2)
        return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8((__mmask32)there, row[0])),
                                  _mm256_maskz_loadu_epi8((__mmask32)there, row[apart]), 1);
    __m512i all = _mm512_castsi128_si512(_mm_maskz_loadu_epi8((__mmask16)there, row[0]));
    all = _mm512_inserti32x4(all, _mm_maskz_loadu_epi8((__mmask16)there, row[apart]), 1);
    all = _mm512_inserti32x4(all, _mm_maskz_loadu_epi8((__mmask16)there, row[2 * apart]), 2);
    return _mm512_inserti32x4(all, _mm_maskz_loadu_epi8((__mmask16)there, row[3 * apart]), 3);
}

/* Lanes 0 and 1, 2 and 3 of x added, then those of y. */
PCX_INLINE __m512i qgemm_few_lanes(__m512i x, __m512i y)
{
    return _mm512_add_epi32(_mm512_shuffle_i32x4(x, y, 0x88), _mm512_shuffle_i32x4(x, y, 0xdd));
}

/* The sums of each of 16 / parts vectors, part by part: 16 / parts of the first parts, and so on. */
PCX_INLINE __m512i qgemm_few_across(const int parts, __m512i *s)
{
    PCX_UNROLL for (int x = 0; x < 16 / parts; x += 2)
        s[x / 2] = _mm512_add_epi32(_mm512_unpacklo_epi32(s[x], s[x + 1]), _mm512_unpackhi_epi32(s[x], s[x + 1]));
    PCX_UNROLL for (int x = 0; x < 8 / parts; x += 2)
        s[x / 2] = _mm512_add_epi32(_mm512_unpacklo_epi64(s[x], s[x + 1]), _mm512_unpackhi_epi64(s[x], s[x + 1]));
    if (parts == 4)
        return s[0];
    if (parts == 2) {
        const __m512i both = qgemm_few_lanes(s[0], s[1]);
        return _mm512_shuffle_i32x4(both, both, 0xd8);
    }
    return qgemm_few_lanes(qgemm_few_lanes(s[0], s[1]), qgemm_few_lanes(s[2], s[3]));
}

/* The sums of 16 rows with n columns, dense. Up to 16 sums beyond them may be written. */
PCX_INLINE void qgemm_few_tile(const int n, const int parts, const qgemm_few *t, const uint8_t *const *row, int32_t *to)
{
    const int count = 16 / parts, join = n == 1 && parts > 1;
    const size_t width = 64 / parts, k = t->k;
    for (int v = 0; v < (n == 1 ? 1 : parts); v++, row += count, to += count * n) {
        const int8_t *w = t->w;
        __m512i s[16];
        PCX_UNROLL for (int x = 0; x < count; x++)
            s[x] = _mm512_setzero_si512();
        for (size_t at = 0; at < k; at += width, w += 64) {
            const __mmask64 there = ~(__mmask64)0 >> (64 - min_size(k - at, width));
            const __m512i wide = _mm512_loadu_si512(w);
            if (!join && k - at >= width)
                PCX_UNROLL for (int x = 0; x < count; x++)
                    PCX_DPBUSD(s[x], qgemm_few_repeat(parts, row[x] + at, ~(__mmask64)0), wide);
            else
                PCX_UNROLL for (int x = 0; x < count; x++) {
                    const __m512i a = join ? qgemm_few_join(parts, row + x, (size_t)count, there)
                                           : qgemm_few_repeat(parts, row[x] + at, there);
                    PCX_DPBUSD(s[x], a, wide);
                }
        }
        __m512i sum = qgemm_few_across(parts, s);
        if (n > 1)
            sum = _mm512_permutexvar_epi32(t->order, sum);
        _mm512_storeu_si512(to, _mm512_add_epi32(sum, t->start));
    }
}

#define TILE(n, parts) \
    static PCX_NOINLINE void qgemm_few_tile_##n##_##parts(const qgemm_few *t, const uint8_t *const *row, int32_t *to) \
    { \
        qgemm_few_tile(n, parts, t, row, to); \
    }
#define NAME(n, parts) [n][parts] = qgemm_few_tile_##n##_##parts,
#define ALL(X) X(1, 1) X(1, 2) X(1, 4) X(2, 2) X(3, 4) X(4, 4)
ALL(TILE)
static void (*const qgemm_few_tiles[QGEMM_FEW + 1][5])(const qgemm_few *t, const uint8_t *const *row, int32_t *to) = {
    ALL(NAME)
};
#undef TILE
#undef NAME
#undef ALL

/* Whether the block's rows are products of few columns to dense outputs. */
static inline int qgemm_few_suits(const qgemm_block *b)
{
    return b->n <= QGEMM_FEW && b->ldo == b->n && b->rows >= QGEMM_FEW_ROWS && 4 * b->steps <= QGEMM_FEW_K &&
           b->k && !b->table && b->together >= b->steps && !b->zero && !b->row_sum &&
           (!b->tail->q.residual || b->tail->q.ldr == b->n);
}

static inline void qgemm_few_make(const qgemm_block *b, size_t parts, qgemm_few *t)
{
    const size_t n = b->n, steps = 16 / parts; /* of four bytes in a part */
    const qgemm_avx512_columns columns = qgemm_avx512_columns_make(b, 0, n);
    int32_t base[QGEMM_NR], start[QGEMM_NR], order[QGEMM_NR];
    _mm512_storeu_si512(base, columns.base);
    for (size_t x = 0; x < QGEMM_NR; x++) {
        start[x] = base[x % n];
        order[x] = (int32_t)(x % n * (16 / parts) + x / n);
    }
    t->start = _mm512_loadu_si512(start);
    t->order = _mm512_loadu_si512(order);
    t->k = 4 * b->steps;
    memset(t->w, 0, ceil_div(b->steps, steps) * 64);
    for (size_t s = 0; s < b->steps; s++)
        for (size_t p = 0; p < (n == 3 ? n : parts); p++)
            memcpy(t->w + s / steps * 64 + (p * steps + s % steps) * 4, b->w + s * QGEMM_STEP + (n > 1 ? 4 * p : 0), 4);
}

/* The outputs of the block's rows but the last less than 16; returns how many rows these are. */
static size_t qgemm_few_rows(const qgemm_block *b, int vbmi)
{
    const size_t n = b->n, wide = QGEMM_FEW_ROWS * n, bytes = b->tail->bytes, end = b->rows / QGEMM_FEW_ROWS;
    const size_t parts = n > 2 ? 4 : n == 2 ? 2 : b->steps <= 4 ? 4 : b->steps <= 8 ? 2 : 1;
    _Alignas(64) qgemm_few t;
    _Alignas(64) int32_t sum[QGEMM_FEW_WAITING * QGEMM_FEW * QGEMM_FEW_ROWS + 16];
    float scale[QGEMM_FEW * QGEMM_FEW_ROWS];
    qepilogue flat = *b->tail; /* as if 16 rows were one */
    for (size_t x = 0; flat.scale && x < wide; x++)
        scale[x] = b->tail->scale[x % n];
    flat.scale = flat.scale ? scale : NULL;
    flat.q.ldr = wide;
    flat.q.residual = flat.q.residual ? flat.q.residual + b->i * n : NULL;
    const qepilogue_avx512_columns tail = qepilogue_avx512_columns_make(&flat, 0, wide, vbmi);
    qgemm_few_make(b, parts, &t);
    for (size_t r = 0, count; r < end; r += count) {
        count = min_size(end - r, QGEMM_FEW_WAITING);
        for (size_t x = 0; x < count; x++)
            qgemm_few_tiles[n][parts](&t, b->row + (r + x) * QGEMM_FEW_ROWS, sum + x * wide);
        qepilogue_avx512_rows(&tail, r, count, sum, wide, (uint8_t *)b->out + (b->i * n + r * wide) * bytes, wide * bytes);
    }
    return end * QGEMM_FEW_ROWS;
}

PCX_TARGET_END
#endif
#endif
