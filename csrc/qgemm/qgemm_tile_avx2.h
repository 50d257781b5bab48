/*
 * qgemm_tile_avx2.h - AVX2 tiles of up to 6 rows by 16 columns; qgemm and qconv walk over them.
 *
 * Per step and row: one dword of u8 broadcast, two vpmaddubsw against the panel's 64 bytes.  The
 * twelve vectors of sums, two of weights, one of a and one temporary fill the 16 registers; in chunks
 * the sums are int16, and the int32 sums are in memory (`sum`), updated once per chunk.
 * PCX_KEEP after each step stops GCC from reassociating the adds, which spills.
 */
#ifndef PCX_QGEMM_TILE_AVX2_H
#define PCX_QGEMM_TILE_AVX2_H

#include "qgemm_put_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* One tile's operands. */
typedef struct {
    const uint8_t *const *row; /* QGEMM_MR rows; step s of a row is 4 bytes at offset[s], or at 4 s */
    const ptrdiff_t *offset;
    size_t steps, depth;            /* qgemm_acc16_part's */
    const int8_t *w;                 /* of these steps */
    const int16_t *start, *wide;     /* qgemm_acc16_part's; by qgemm_widen, where chunk is 0 */
    const int32_t (*from)[QGEMM_NR]; /* where the sums of each row start */
    int32_t (*sum)[QGEMM_NR];        /* where they end */
} qgemm_tile;

/* The scratch: the panel widened; where the steps of its rest are, by table and without. */
static inline size_t qgemm_wide(size_t steps) { return steps * 2 * QGEMM_STEP; }
static size_t qgemm_avx2_scratch(size_t steps)
{
    return qgemm_wide(steps) + 2 * qgemm_acc16_rest(steps) * sizeof(ptrdiff_t);
}

/* The last chunk's sums, added to those before, to outputs. */
PCX_INLINE void qgemm_finish(const int mr, __m256i acc[][2], const int32_t *from, const qgemm_target *target)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *const residual = qepilogue_avx2_residual(target->tail, target->i);
    PCX_UNROLL for (int r = 0; r < mr; r += 2) {
        __m256i sum[4];
        PCX_UNROLL for (int x = 0; x < 4; x++) {
            sum[x] = _mm256_add_epi32(_mm256_madd_epi16(acc[r + x / 2][x % 2], ones),
                                      qgemm_load(from + QGEMM_NR * (r + x / 2) + x % 2 * 8));
        }
        qgemm_put(target, r, 2, sum, residual);
    }
    if (target->tail->rise)
        qepilogue_avx2_lut(target->tail->rise, target->out, (size_t)mr, target->ldo, 0);
}

/* If there is a target, sums go there instead of to t->sum. */
PCX_INLINE void qgemm_chunks(const int mr, const int halves, const int table, const size_t depth, const qgemm_tile *t,
                              const qgemm_target *target)
{
    const int few = mr * halves <= 6; /* then the int32 sums fit the registers, too */
    const __m256i ones = _mm256_set1_epi16(1);
    const size_t steps = t->steps, whole = steps - steps % depth;
    const int16_t *start = t->start;
    const int8_t *w = t->w;
    const int32_t *from = t->from[0];
    int32_t *const to = t->sum[0]; /* stores may alias *t: everything is read before */
    const ptrdiff_t *const offset = t->offset;
    const uint8_t *row[QGEMM_MR];
    __m256i sum[QGEMM_MR][2];
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = t->row[r];
        PCX_UNROLL for (int h = 0; h < halves; h++)
            sum[r][h] = qgemm_load(from + QGEMM_NR * r + 8 * h);
    }
    for (size_t s = 0; s < steps; start += 32, from = to) {
        __m256i acc[QGEMM_MR][2];
        PCX_UNROLL for (int r = 0; r < mr; r++) {
            acc[r][0] = qgemm_load(start);
            acc[r][1] = qgemm_load(start + 16);
        }
        if (PCX_LIKELY(s < whole)) {
            PCX_UNROLL for (size_t x = 0; x < depth; x++)
                qgemm_step(mr, halves, row, qgemm_at(offset, table, s + x), w + x * QGEMM_STEP, acc);
            s += depth;
            w += depth * QGEMM_STEP;
        } else {
            for (; s < steps; s++, w += QGEMM_STEP)
                qgemm_step(mr, halves, row, qgemm_at(offset, table, s), w, acc);
        }
        if (target && !few && s == steps) {
            qgemm_finish(mr, acc, from, target);
            return;
        }
        PCX_UNROLL for (int r = 0; r < mr; r++)
            PCX_UNROLL for (int h = 0; h < halves; h++) {
                const __m256i before = few ? sum[r][h] : qgemm_load(from + QGEMM_NR * r + 8 * h);
                sum[r][h] = _mm256_add_epi32(_mm256_madd_epi16(acc[r][h], ones), before);
                if (!few)
                    qgemm_store(to + QGEMM_NR * r + 8 * h, sum[r][h]);
            }
    }
    if (few && target) {
        if (halves == 1)
            qgemm_finish_half(mr, sum, target);
        else
            qgemm_finish_sums(mr, sum, target);
        return;
    }
    PCX_UNROLL for (int r = 0; few && r < mr; r++)
        PCX_UNROLL for (int h = 0; h < halves; h++)
            qgemm_store(to + QGEMM_NR * r + 8 * h, sum[r][h]);
}

/* acc += a . w in int32, of one step.  `ones` stay in memory: a register for them would make the tile spill. */
PCX_INLINE __m256i qgemm_pair(__m256i acc, __m256i a, __m256i w, const int16_t *ones)
{
    PCX_OPAQUE(ones);
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(a, w), qgemm_load(ones)));
    PCX_KEEP(acc);
    return acc;
}

/*
 * Six rows as two times three, so that the int32 sums stay in registers, too.  For short chunks, whose sums would go
 * to memory and back every other step, this outweighs reading the weights twice.
 */
PCX_INLINE void qgemm_threes(const int table, const size_t depth, const qgemm_tile *t, const qgemm_target *target)
{
    for (size_t r = 0; r < QGEMM_MR; r += 3) {
        qgemm_tile three = *t;
        three.row += r;
        three.from += r;
        three.sum += r;
        const qgemm_target to = { target->tail, target->i + r, target->ldo, target->out + r * target->ldo };
        qgemm_chunks(3, 2, table, depth, &three, &to);
    }
}

/* Chunks of one step: int32 sums in registers. */
PCX_INLINE void qgemm_pairs(const int mr, const int halves, const int table, const qgemm_tile *t,
                            const qgemm_target *target)
{
    static const _Alignas(32) int16_t ones[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    const int8_t *w = t->w;
    const uint8_t *row[QGEMM_MR];
    __m256i acc[QGEMM_MR][2];
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = t->row[r];
        PCX_UNROLL for (int h = 0; h < halves; h++)
            acc[r][h] = qgemm_load(t->from[r] + 8 * h);
    }
    for (size_t s = 0; s < t->steps; s++, w += QGEMM_STEP) {
        const ptrdiff_t at = qgemm_at(t->offset, table, s);
        const __m256i w0 = qgemm_load(w), w1 = halves > 1 ? qgemm_load(w + 32) : w0;
        PCX_UNROLL for (int r = 0; r < mr; r++) {
            const __m256i a = qgemm_four(row[r] + at);
            acc[r][0] = qgemm_pair(acc[r][0], a, w0, ones);
            if (halves > 1)
                acc[r][1] = qgemm_pair(acc[r][1], a, w1, ones);
        }
    }
    if (target) {
        if (halves == 1)
            qgemm_finish_half(mr, acc, target);
        else
            qgemm_finish_sums(mr, acc, target);
        return;
    }
    int32_t *const to = t->sum[0]; /* stores may alias *t */
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int h = 0; h < halves; h++)
            qgemm_store(to + QGEMM_NR * r + 8 * h, acc[r][h]);
}

/*
 * No int16 accumulation: products of int16.  vpmaddwd adds two, so even and odd k are separated: each 32-bit
 * word then contains k 0 and 2, or 1 and 3.
 */
PCX_INLINE void qgemm_exact(const int mr, const int table, const qgemm_tile *t)
{
    const __m256i low = _mm256_set1_epi16(255);
    const int16_t *w = t->wide;
    const uint8_t *row[QGEMM_MR];
    __m256i acc[QGEMM_MR][2];
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = t->row[r];
        acc[r][0] = qgemm_load(t->from[r]);
        acc[r][1] = qgemm_load(t->from[r] + 8);
    }
    for (size_t s = 0; s < t->steps; s++, w += QGEMM_STEP) {
        const ptrdiff_t at = qgemm_at(t->offset, table, s);
        PCX_UNROLL for (int odd = 0; odd < 2; odd++) {
            const __m256i w0 = qgemm_load(w + 32 * odd), w1 = qgemm_load(w + 32 * odd + 16);
            PCX_UNROLL for (int r = 0; r < mr; r++) {
                const __m256i four = qgemm_four(row[r] + at);
                const __m256i a = odd ? _mm256_srli_epi16(four, 8) : _mm256_and_si256(four, low);
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(a, w0));
                acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(a, w1));
                PCX_KEEP(acc[r][0]);
                PCX_KEEP(acc[r][1]);
            }
        }
    }
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        qgemm_store(t->sum[r], acc[r][0]);
        qgemm_store(t->sum[r] + 8, acc[r][1]);
    }
}

/* A panel as qgemm_exact reads it: int16[steps][even, odd][16][2]. */
static void qgemm_widen(size_t steps, const int8_t *w, int16_t *wide)
{
    for (size_t s = 0; s < steps; s++, w += QGEMM_STEP, wide += QGEMM_STEP)
        for (size_t half = 0; half < 2; half++) {
            const __m256i both = qgemm_load(w + 32 * half);
            qgemm_store(wide + 16 * half, _mm256_srai_epi16(_mm256_slli_epi16(both, 8), 8));
            qgemm_store(wide + 32 + 16 * half, _mm256_srai_epi16(both, 8));
        }
}

PCX_INLINE void qgemm_any_tile(const int mr, const int table, const qgemm_tile *t)
{
    switch (t->steps ? t->depth : 0) {
    case 8: qgemm_chunks(mr, 2, table, 8, t, NULL); return;
    case 4: qgemm_chunks(mr, 2, table, 4, t, NULL); return;
    case 2: qgemm_chunks(mr, 2, table, 2, t, NULL); return;
    case 1: qgemm_pairs(mr, 2, table, t, NULL); return;
    default: qgemm_exact(mr, table, t);
    }
}

/* Tiles of fewer rows, and any tile. */
#define QGEMM_TILE(mr, table) \
    static PCX_NOINLINE void qgemm_tile_##mr##_##table(const qgemm_tile *t) { qgemm_any_tile(mr, table, t); }
QGEMM_TILE(1, 0) QGEMM_TILE(2, 0) QGEMM_TILE(4, 0) QGEMM_TILE(6, 0)
QGEMM_TILE(1, 1) QGEMM_TILE(2, 1) QGEMM_TILE(4, 1) QGEMM_TILE(6, 1)
#undef QGEMM_TILE

/* Sums of the first `rows` rows; further rows may be summed, too. */
static void qgemm_tile_avx2(const qgemm_tile *t, size_t rows)
{
    static void (*const tile[2][QGEMM_MR + 1])(const qgemm_tile *) = {
        { NULL, qgemm_tile_1_0, qgemm_tile_2_0, qgemm_tile_4_0, qgemm_tile_4_0, qgemm_tile_6_0, qgemm_tile_6_0 },
        { NULL, qgemm_tile_1_1, qgemm_tile_2_1, qgemm_tile_4_1, qgemm_tile_4_1, qgemm_tile_6_1, qgemm_tile_6_1 },
    };
    tile[t->offset != NULL][rows](t);
}

/*
 * `count` whole tiles from `t` on and their tail, which is plain or a half: output rows from i on, to
 * `out`.  With few steps a call per tile would cost as much as the products.
 */
typedef void qgemm_sweep(qgemm_tile *t, size_t count, const qepilogue_avx2_columns *tail, size_t i, uint8_t *out,
                         size_t ldo);

#define QGEMM_SWEEP(name, tile) \
    static PCX_NOINLINE void qgemm_sweep_##name(qgemm_tile *t, size_t count, const qepilogue_avx2_columns *tail, \
                                                size_t i, uint8_t *out, size_t ldo) \
    { \
        qgemm_target target = { tail, i, ldo, out }; \
        for (; count; count--, t->row += QGEMM_MR) { \
            tile; \
            target.i += QGEMM_MR; \
            target.out += QGEMM_MR * ldo; \
        } \
    }
#define WIDENED(table) \
    qgemm_exact(6, table, t), qepilogue_avx2_plain_rows(tail, QGEMM_MR, target.i, QGEMM_MR, t->sum, target.out, ldo)
QGEMM_SWEEP(8, qgemm_chunks(6, 2, 0, 8, t, &target)) QGEMM_SWEEP(table_8, qgemm_chunks(6, 2, 1, 8, t, &target))
QGEMM_SWEEP(4, qgemm_chunks(6, 2, 0, 4, t, &target)) QGEMM_SWEEP(table_4, qgemm_chunks(6, 2, 1, 4, t, &target))
QGEMM_SWEEP(2, qgemm_threes(0, 2, t, &target)) QGEMM_SWEEP(table_2, qgemm_threes(1, 2, t, &target))
QGEMM_SWEEP(1, qgemm_pairs(6, 2, 0, t, &target)) QGEMM_SWEEP(table_1, qgemm_pairs(6, 2, 1, t, &target))
QGEMM_SWEEP(0, WIDENED(0)) QGEMM_SWEEP(table_0, WIDENED(1))
QGEMM_SWEEP(half_8, qgemm_chunks(6, 1, 0, 8, t, &target)) QGEMM_SWEEP(half_4, qgemm_chunks(6, 1, 0, 4, t, &target))
QGEMM_SWEEP(half_2, qgemm_chunks(6, 1, 0, 2, t, &target)) QGEMM_SWEEP(half_1, qgemm_pairs(6, 1, 0, t, &target))
#undef WIDENED
#undef QGEMM_SWEEP

/* The sweep for tiles like `t`, or NULL. */
static qgemm_sweep *qgemm_sweep_avx2(const qgemm_tile *t, const qepilogue_avx2_columns *tail)
{
    const int table = t->offset != NULL, half = tail->half || tail->narrow;
    const size_t depth = t->steps ? t->depth : 0;
    if (!tail->plain && (!half || table || !depth))
        return NULL;
    switch (depth) {
    case 8: return half ? qgemm_sweep_half_8 : table ? qgemm_sweep_table_8 : qgemm_sweep_8;
    case 4: return half ? qgemm_sweep_half_4 : table ? qgemm_sweep_table_4 : qgemm_sweep_4;
    case 2: return half ? qgemm_sweep_half_2 : table ? qgemm_sweep_table_2 : qgemm_sweep_2;
    case 1: return half ? qgemm_sweep_half_1 : table ? qgemm_sweep_table_1 : qgemm_sweep_1;
    default: return table ? qgemm_sweep_table_0 : qgemm_sweep_0;
    }
}

PCX_TARGET_END
#endif
#endif
