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

enum { QGEMM_FEW = 4, QGEMM_FEW_ROWS = 16, QGEMM_FEW_VECTORS = 256, QGEMM_FEW_RUNS = 64, QGEMM_FEW_WAITING = 24 };

/* The operands of tiles of 16 rows. */
typedef struct {
    int8_t w[QGEMM_FEW_VECTORS * 64]; /* vectors of weights: 64 / parts of each column, zero beyond k */
    __m512i order, start;             /* of a vector's sums: to rows of outputs; where these start */
    size_t k;                         /* bytes of a run: of a row, with padding to whole steps, or of a window's line */
    size_t runs;                      /* of a row; 0: these products are not taken here */
    ptrdiff_t at[2][QGEMM_FEW_RUNS];  /* where runs begin, from a row on: gathered, in place */
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

/*
 * The sums of 16 rows with n columns, dense, and up to 16 beyond them; n is 1, `parts` or, for 4 parts, 3. `at`: where a
 * row's runs begin; NULL: there is one, at the row's begin. `join`: of one column, see qgemm_few_join.
 */
PCX_INLINE void qgemm_few_tile(const int parts, const int join, const int table, const qgemm_few *t, size_t n,
                               const uint8_t *const *row, const ptrdiff_t *const *at, int32_t *to)
{
    const int count = 16 / parts;
    const size_t width = 64 / parts, k = t->k;
    for (int v = 0; v < (join ? 1 : parts); v++, row += count, at += table ? count : 0, to += (size_t)count * n) {
        const int8_t *w = t->w;
        __m512i s[16];
        PCX_UNROLL for (int x = 0; x < count; x++)
            s[x] = _mm512_setzero_si512();
        for (size_t run = 0; run < (table ? t->runs : 1); run++)
            for (size_t q = 0; q < k; q += width, w += 64) {
                const __mmask64 there = ~(__mmask64)0 >> (64 - min_size(k - q, width));
                const __m512i wide = _mm512_loadu_si512(w);
                if (join)
                    PCX_UNROLL for (int x = 0; x < count; x++)
                        PCX_DPBUSD(s[x], qgemm_few_join(parts, row + x, (size_t)count, there), wide);
                else if (k - q >= width)
                    PCX_UNROLL for (int x = 0; x < count; x++)
                        PCX_DPBUSD(s[x], qgemm_few_repeat(parts, row[x] + (table ? at[x][run] : 0) + q, ~(__mmask64)0),
                                   wide);
                else
                    PCX_UNROLL for (int x = 0; x < count; x++)
                        PCX_DPBUSD(s[x], qgemm_few_repeat(parts, row[x] + (table ? at[x][run] : 0) + q, there), wide);
            }
        __m512i sum = qgemm_few_across(parts, s);
        if (parts > 1 && !join)
            sum = _mm512_permutexvar_epi32(t->order, sum);
        _mm512_storeu_si512(to, _mm512_add_epi32(sum, t->start));
    }
}

typedef void qgemm_few_tile_fn(const qgemm_few *t, size_t n, const uint8_t *const *row, const ptrdiff_t *const *at,
                               int32_t *to);

#define TILE(parts, join, table) \
    static PCX_NOINLINE void qgemm_few_tile_##parts##_##join##_##table(const qgemm_few *t, size_t n, \
                                                                       const uint8_t *const *row, \
                                                                       const ptrdiff_t *const *at, int32_t *to) \
    { \
        qgemm_few_tile(parts, join, table, t, n, row, at, to); \
    }
TILE(1, 0, 0) TILE(2, 0, 0) TILE(4, 0, 0) TILE(1, 0, 1) TILE(2, 0, 1) TILE(4, 0, 1) TILE(2, 1, 0) TILE(4, 1, 0)
#undef TILE

static qgemm_few_tile_fn *qgemm_few_tile_of(size_t n, size_t parts, int table)
{
    if (parts == 1)
        return table ? qgemm_few_tile_1_0_1 : qgemm_few_tile_1_0_0;
    if (n == 1)
        return parts == 2 ? qgemm_few_tile_2_1_0 : qgemm_few_tile_4_1_0;
    if (parts == 2)
        return table ? qgemm_few_tile_2_0_1 : qgemm_few_tile_2_0_0;
    return table ? qgemm_few_tile_4_0_1 : qgemm_few_tile_4_0_0;
}

/* Into how many parts vectors are divided. */
static inline size_t qgemm_few_parts(const qgemm_block *b)
{
    return b->n > 2 ? 4 : b->n == 2 ? 2 : b->table || b->steps > 8 ? 1 : b->steps > 4 ? 2 : 4;
}

/* Vectors of weights of a run. */
static inline size_t qgemm_few_vectors(const qgemm_block *b) { return ceil_div(b->together * qgemm_few_parts(b), 16); }

/* The runs of a row, if these are products of few columns to dense outputs, or 0; runs should fill their vectors. */
static inline size_t qgemm_few_runs(const qgemm_block *b)
{
    if (b->n > QGEMM_FEW || b->ldo != b->n || !b->k || b->zero || b->row_sum ||
        (b->tail->q.residual && b->tail->q.ldr != b->n) || (b->table && b->together < 4))
        return 0;
    const size_t runs = b->steps / b->together;
    return runs <= QGEMM_FEW_RUNS && runs * qgemm_few_vectors(b) <= QGEMM_FEW_VECTORS ? runs : 0;
}

/* Once for all blocks. */
static inline void qgemm_few_make(const qgemm_block *b, qgemm_few *t)
{
    t->runs = qgemm_few_runs(b);
    if (!t->runs)
        return;
    const size_t n = b->n, parts = qgemm_few_parts(b), steps = 16 / parts; /* of four bytes in a part */
    const size_t vectors = qgemm_few_vectors(b);
    const qgemm_avx512_columns columns = qgemm_avx512_columns_make(b, 0, n);
    int32_t base[QGEMM_NR], start[QGEMM_NR], order[QGEMM_NR];
    _mm512_storeu_si512(base, columns.base);
    for (size_t x = 0; x < QGEMM_NR; x++) {
        start[x] = base[x % n];
        order[x] = (int32_t)(x % n * (16 / parts) + x / n);
    }
    t->start = _mm512_loadu_si512(start);
    t->order = _mm512_loadu_si512(order);
    t->k = 4 * b->together;
    memset(t->w, 0, t->runs * vectors * 64);
    for (size_t run = 0; run < t->runs; run++) {
        t->at[0][run] = (ptrdiff_t)(run * t->k);
        t->at[1][run] = b->table ? b->table[run * b->together] : 0;
        for (size_t s = 0; s < b->together; s++)
            for (size_t p = 0; p < (n == 3 ? n : parts); p++)
                memcpy(t->w + (run * vectors + s / steps) * 64 + (p * steps + s % steps) * 4,
                       b->w + (run * b->together + s) * QGEMM_STEP + (n > 1 ? 4 * p : 0), 4);
    }
}

/* The sums of the rows [first, first + 16 count) of the block. */
static void qgemm_few_sums(const qgemm_block *b, const qgemm_few *t, size_t first, size_t count, int32_t *sum)
{
    qgemm_few_tile_fn *const tile = qgemm_few_tile_of(b->n, qgemm_few_parts(b), b->table != NULL);
    const unsigned char *in_place = b->table ? b->in_place + first / b->mr : NULL;
    size_t passed = first % b->mr; /* rows of the tile of `in_place` */
    for (size_t x = 0; x < count; x++, first += QGEMM_FEW_ROWS, sum += QGEMM_FEW_ROWS * b->n) {
        const ptrdiff_t *at[QGEMM_FEW_ROWS];
        for (size_t y = 0; b->table && y < QGEMM_FEW_ROWS; y++) {
            at[y] = t->at[*in_place];
            passed++;
            if (passed == b->mr) {
                passed = 0;
                in_place++;
            }
        }
        tile(t, b->n, b->row + first, at, sum);
    }
}

/* The block's outputs: 16 rows at least. The last 16 begin among those before. */
static void qgemm_few_rows(const qgemm_block *b, const qgemm_few *t, int vbmi)
{
    const size_t n = b->n, wide = QGEMM_FEW_ROWS * n, bytes = b->tail->bytes, most = QGEMM_FEW_WAITING * QGEMM_FEW_ROWS;
    _Alignas(64) int32_t sum[QGEMM_FEW_WAITING * QGEMM_FEW * QGEMM_FEW_ROWS + 16];
    float scale[QGEMM_FEW * QGEMM_FEW_ROWS];
    qepilogue flat = *b->tail; /* as if 16 rows were one */
    for (size_t x = 0; flat.scale && x < wide; x++)
        scale[x] = b->tail->scale[x % n];
    flat.scale = flat.scale ? scale : NULL;
    flat.q.ldr = wide;
    const qepilogue_avx512_columns tail = qepilogue_avx512_columns_make(&flat, 0, wide, vbmi);
    for (size_t r = 0, rows; r < b->rows; r += rows) {
        rows = min_size((b->rows - r) / QGEMM_FEW_ROWS * QGEMM_FEW_ROWS, most);
        if (!rows) {
            r = b->rows - QGEMM_FEW_ROWS;
            rows = QGEMM_FEW_ROWS;
        }
        qgemm_few_sums(b, t, r, rows / QGEMM_FEW_ROWS, sum);
        if (b->tail->q.residual)
            flat.q.residual = b->tail->q.residual + (b->i + r) * n;
        qepilogue_avx512_rows(&tail, 0, rows / QGEMM_FEW_ROWS, sum, wide, (uint8_t *)b->out + (b->i + r) * n * bytes,
                              wide * bytes);
    }
}

PCX_TARGET_END
#endif
#endif
