/*
 * lut_avx512.c - a table of 256 in four registers, 64 elements at a time: by bytes with VBMI, else by words.  With a
 * table for each column, and VBMI, 64 rows of 16 columns are turned so that a register holds a column, and back.
 */
#include "../common/qepilogue_avx512.h"
#include "lut.h"

#if PCX_X86

#define LUT(isa, lookup, columns) \
    PCX_INLINE void lut_##isa##_row(size_t n, const uint8_t *x, const uint8_t *table, uint8_t *out) \
    { \
        for (size_t j = 0; j < n; j += 64) { \
            const __mmask64 mask = n - j < 64 ? ~(~(__mmask64)0 << (n - j)) : ~(__mmask64)0; \
            _mm512_mask_storeu_epi8(out + j, mask, lookup(table, _mm512_maskz_loadu_epi8(mask, x + j))); \
        } \
    } \
    void lut_##isa(const void *args, size_t begin, size_t end, void *scratch) \
    { \
        (void)scratch; \
        lut_run(args, begin, end, lut_##isa##_row, columns); \
    }

PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
LUT(avx512, qepilogue_avx512_table, lut_columns)
PCX_TARGET_END

PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")

enum {
    SIDE = 16,       /* columns that are turned together, */
    TALL = 4 * SIDE, /* and rows: four bytes of a column are one of a register's 16 words */
    SHORT = 28,      /* fewer rows are faster one by one */
};

/* x[i] word j <-> x[j] word i. */
PCX_INLINE void lut_avx512vbmi_turn(__m512i x[SIDE])
{
    __m512i y[SIDE];
    PCX_UNROLL
    for (int i = 0; i < SIDE; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    PCX_UNROLL
    for (int i = 0; i < SIDE; i += 4)
        PCX_UNROLL
        for (int j = 0; j < 2; j++) {
            x[i + 2 * j] = _mm512_unpacklo_epi64(y[i + j], y[i + j + 2]);
            x[i + 2 * j + 1] = _mm512_unpackhi_epi64(y[i + j], y[i + j + 2]);
        }
    PCX_UNROLL
    for (int i = 0; i < SIDE; i += 8)
        PCX_UNROLL
        for (int j = 0; j < 4; j++) {
            y[i + j] = _mm512_shuffle_i32x4(x[i + j], x[i + j + 4], 0x88);
            y[i + j + 4] = _mm512_shuffle_i32x4(x[i + j], x[i + j + 4], 0xdd);
        }
    PCX_UNROLL
    for (int j = 0; j < 8; j++) {
        x[j] = _mm512_shuffle_i32x4(y[j], y[j + 8], 0x88);
        x[j + 8] = _mm512_shuffle_i32x4(y[j], y[j + 8], 0xdd);
    }
}

/* Rows i to i + 3 of `count`, at least one; below the last one it is read again. */
PCX_INLINE __m512i lut_avx512vbmi_load(const uint8_t *x, size_t ldx, size_t i, size_t count)
{
    if (ldx == SIDE && i + 4 <= count)
        return _mm512_loadu_si512(x + i * SIDE);
    __m128i row[4];
    PCX_UNROLL
    for (size_t r = 0; r < 4; r++)
        row[r] = _mm_loadu_si128((const __m128i *)(const void *)(x + min_size(i + r, count - 1) * ldx));
    const __m512i two = _mm512_inserti32x4(_mm512_castsi128_si512(row[0]), row[1], 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(two, row[2], 2), row[3], 3);
}

PCX_INLINE void lut_avx512vbmi_store(uint8_t *out, size_t ldo, size_t i, size_t count, __m512i rows)
{
    if (ldo == SIDE && i + 4 <= count) {
        _mm512_storeu_si512(out + i * SIDE, rows);
        return;
    }
    const __m128i row[4] = { _mm512_castsi512_si128(rows), _mm512_extracti32x4_epi32(rows, 1),
                             _mm512_extracti32x4_epi32(rows, 2), _mm512_extracti32x4_epi32(rows, 3) };
    PCX_UNROLL
    for (size_t r = 0; r < 4; r++)
        if (i + r < count)
            _mm_storeu_si128((__m128i *)(void *)(out + (i + r) * ldo), row[r]);
}

/* Byte 16 r + c of four rows <-> byte 4 c + r. */
static const uint8_t lut_avx512vbmi_to[64] = {
    0, 16, 32, 48, 1, 17, 33, 49, 2, 18, 34, 50, 3, 19, 35, 51,
    4, 20, 36, 52, 5, 21, 37, 53, 6, 22, 38, 54, 7, 23, 39, 55,
    8, 24, 40, 56, 9, 25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59,
    12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63,
};
static const uint8_t lut_avx512vbmi_from[64] = {
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60,
    1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61,
    2, 6, 10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 50, 54, 58, 62,
    3, 7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59, 63,
};

/* `count` <= TALL rows of 16 columns, at x and out. */
static void lut_avx512vbmi_block(size_t count, const uint8_t *x, size_t ldx, const uint8_t *table, uint8_t *out,
                                 size_t ldo)
{
    const __m512i to = _mm512_loadu_si512(lut_avx512vbmi_to), from = _mm512_loadu_si512(lut_avx512vbmi_from);
    __m512i four[SIDE];
    PCX_UNROLL
    for (size_t i = 0; i < SIDE; i++)
        four[i] = _mm512_permutexvar_epi8(to, lut_avx512vbmi_load(x, ldx, min_size(4 * i, count - 1), count));
    lut_avx512vbmi_turn(four);
    PCX_UNROLL
    for (int c = 0; c < SIDE; c++)
        four[c] = qepilogue_avx512_table_vbmi(table + 256 * c, four[c]);
    lut_avx512vbmi_turn(four);
    PCX_UNROLL
    for (size_t i = 0; i < SIDE; i++)
        if (4 * i < count)
            lut_avx512vbmi_store(out, ldo, 4 * i, count, _mm512_permutexvar_epi8(from, four[i]));
}

/* lut_columns, the rows in blocks. */
static void lut_avx512vbmi_columns(size_t rows, size_t n, const uint8_t *x, size_t ldx, const uint8_t *table,
                                   uint8_t *out, size_t ldo)
{
    for (size_t count; rows >= SHORT && n >= SIDE; rows -= count, x += count * ldx, out += count * ldo) {
        size_t j = 0;
        for (count = min_size(rows, TALL); j + SIDE <= n; j += SIDE)
            lut_avx512vbmi_block(count, x + j, ldx, table + 256 * j, out + j, ldo);
        lut_columns(count, n - j, x + j, ldx, table + 256 * j, out + j, ldo);
    }
    lut_columns(rows, n, x, ldx, table, out, ldo);
}

LUT(avx512vbmi, qepilogue_avx512_table_vbmi, lut_avx512vbmi_columns)
PCX_TARGET_END
#endif
