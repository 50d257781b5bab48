/* qspmm_avx2.c - a panel of pixels, its blocks of four k together, times chunks of blocks. */
#include "../common/qepilogue_avx2.h"
#include "qspmm.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

enum {
    QSP_PX = 8, /* pixels of a vector */
    QSP_MR = 6  /* vectors of a panel, at most */
};

_Static_assert(QSP_STEP == 4 * QSP_PX, "the steps of int16 accumulation are those of a panel of one vector");

/* ---- the panel: u8[steps][vectors][8 pixels][4 k] ---- */

/* 16 bytes of eight pixels: four steps, each a vector, `step` bytes apart. */
PCX_INLINE void qspmm_avx2_transpose(const __m128i x[QSP_PX], uint8_t *to, size_t step, size_t steps)
{
    __m256i v[4], t[4];
    PCX_UNROLL for (int i = 0; i < 4; i++)
        v[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(x[i]), x[i + 4], 1);
    t[0] = _mm256_unpacklo_epi32(v[0], v[1]);
    t[1] = _mm256_unpacklo_epi32(v[2], v[3]);
    t[2] = _mm256_unpackhi_epi32(v[0], v[1]);
    t[3] = _mm256_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm256_unpacklo_epi64(t[0], t[1]);
    v[1] = _mm256_unpackhi_epi64(t[0], t[1]);
    v[2] = _mm256_unpacklo_epi64(t[2], t[3]);
    v[3] = _mm256_unpackhi_epi64(t[2], t[3]);
    PCX_UNROLL for (size_t i = 0; i < 4; i++)
        if (i < steps)
            _mm256_store_si256((__m256i *)(to + i * step), v[i]);
}

/* The last `rest` of k bytes at `row`, zeros after them; nothing outside the k bytes is read. */
static __m128i qspmm_avx2_last_bytes(const uint8_t *row, size_t k, size_t rest)
{
    static const uint8_t shift[32] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 128, 128, 128, 128, 128,
                                       128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128 };
    if (k >= 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(row + k - 16));
        return _mm_shuffle_epi8(bytes, _mm_loadu_si128((const __m128i *)(shift + 16 - rest)));
    }
    uint8_t padded[16] = { 0 };
    memcpy(padded, row + k - rest, rest);
    return _mm_loadu_si128((const __m128i *)padded);
}

/* Eight pixels, the columns of one vector of the panel. */
void qspmm_avx2_gather(const uint8_t *const *row, size_t k, uint8_t *to, size_t step)
{
    const size_t rest = k % 16;
    __m128i x[QSP_PX];
    for (size_t q = 0; q + 16 <= k; q += 16, to += 4 * step) {
        PCX_UNROLL for (int i = 0; i < QSP_PX; i++)
            x[i] = _mm_loadu_si128((const __m128i *)(row[i] + q));
        qspmm_avx2_transpose(x, to, step, 4);
    }
    if (rest) {
        for (int i = 0; i < QSP_PX; i++)
            x[i] = qspmm_avx2_last_bytes(row[i], k, rest);
        qspmm_avx2_transpose(x, to, step, ceil_div(rest, 4));
    }
}

/* ---- chunks: sums i32[QSP_NR outputs][vectors][8 pixels] ---- */

/* In place: with PCX_ADD_PAIRS, compilers copy sums between registers. */
PCX_INLINE void qspmm_avx2_add_pairs(__m256i *sum, __m256i x, __m256i w)
{
    __m256i product;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0" : "+v"(*sum), "=&v"(product) : "v"(x), "v"(w));
}

/* s = or, unless `first`, += pairs of the block at words `at`. */
PCX_INLINE void qspmm_avx2_block(int M, int first, const uint32_t at[2], const uint8_t *panel, __m256i s[])
{
    const __m256i *x = (const __m256i *)(panel + (size_t)M * at[0]);
    const __m256i w = _mm256_set1_epi32((int32_t)at[1]);
    PCX_UNROLL for (int i = 0; i < M; i++)
        if (first)
            s[i] = _mm256_maddubs_epi16(_mm256_load_si256(x + i), w);
        else
            qspmm_avx2_add_pairs(s + i, _mm256_load_si256(x + i), w);
}

/* `runs` runs of chunks of T blocks, or of t if T is 0; returns the word after them. */
PCX_INLINE const uint32_t *qspmm_avx2_chunks(int M, int T, size_t t, size_t runs, const uint32_t *at,
                                             const uint8_t *panel, uint8_t *sums)
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (; runs; runs--) {
        size_t count = at[0];
        __m256i sum[QSP_MR], *to = (__m256i *)(sums + (size_t)M * at[1]);
        at += 2;
        PCX_UNROLL for (int i = 0; i < M; i++)
            sum[i] = _mm256_load_si256(to + i);
        do {
            __m256i s[QSP_MR];
            qspmm_avx2_block(M, 1, at, panel, s);
            at += 2;
            if (T)
                PCX_UNROLL for (int b = 1; b < T; b++, at += 2)
                    qspmm_avx2_block(M, 0, at, panel, s);
            else
                for (size_t b = 1; b < t; b++, at += 2)
                    qspmm_avx2_block(M, 0, at, panel, s);
            PCX_UNROLL for (int i = 0; i < M; i++) {
                sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(s[i], ones));
                PCX_KEEP(sum[i]);
            }
        } while (--count);
        PCX_UNROLL for (int i = 0; i < M; i++)
            _mm256_store_si256(to + i, sum[i]);
    }
    return at;
}

PCX_INLINE void qspmm_avx2_group(int M, const uint32_t *counts, const uint8_t *panel, uint8_t *sums)
{
    const uint32_t *at = counts + QSP_COUNTS;
    for (size_t t = QSP_DEEPEST; t > 4; t--)
        at = qspmm_avx2_chunks(M, 0, t, *counts++, at, panel, sums);
    at = qspmm_avx2_chunks(M, 4, 0, counts[0], at, panel, sums);
    at = qspmm_avx2_chunks(M, 3, 0, counts[1], at, panel, sums);
    at = qspmm_avx2_chunks(M, 2, 0, counts[2], at, panel, sums);
    qspmm_avx2_chunks(M, 1, 0, counts[3], at, panel, sums);
}

typedef void group_fn(const uint32_t *counts, const uint8_t *panel, uint8_t *sums);

#define GROUP(M) \
    static void qspmm_avx2_group_##M(const uint32_t *counts, const uint8_t *panel, uint8_t *sums) \
    { \
        qspmm_avx2_group(M, counts, panel, sums); \
    }
GROUP(1) GROUP(2) GROUP(3) GROUP(4) GROUP(5) GROUP(6)
#undef GROUP
static group_fn *const group_of[QSP_MR + 1] = { NULL, qspmm_avx2_group_1, qspmm_avx2_group_2, qspmm_avx2_group_3,
                                                qspmm_avx2_group_4, qspmm_avx2_group_5, qspmm_avx2_group_6 };

/* Outputs [j, j + cols) without int16 accumulation: blocks one by one, split where they are too large. */
static void qspmm_avx2_unproven(const pcx_qspmm_args *p, size_t j, size_t cols, group_fn *run, const uint8_t *panel,
                                uint8_t *sums)
{
    enum { BLOCKS = 64 };
    uint32_t words[QSP_COUNTS + 2 + 2 * BLOCKS] = { [QSP_COUNTS - 1] = 1 }; /* a run of chunks of one block */
    uint32_t *const run_at = words + QSP_COUNTS;
    for (size_t r = 0; r < cols; r++) {
        int32_t b = p->rows[j + r], end = p->rows[j + r + 1];
        run_at[1] = (uint32_t)(r * QSP_STEP);
        while (b < end) {
            uint32_t *to = run_at + 2;
            for (run_at[0] = 0; b < end && run_at[0] < BLOCKS; b++) {
                const qspmm_split_weights s = qspmm_split_block(p->w + (size_t)b * 4);
                for (int part = 0; part < 2; part++, run_at[0]++) {
                    *to++ = (uint32_t)p->index[b] * QSP_STEP;
                    *to++ = qspmm_word(part ? s.rest : s.main);
                }
            }
            run(words, panel, sums);
        }
    }
}

/* The start values of sums: the bias, minus the zero point's part. */
static void qspmm_avx2_sums_start(const pcx_qspmm_args *p, size_t j, size_t cols, const qspmm_workspace *r)
{
    __m256i *to = (__m256i *)r->sums;
    for (size_t c = 0; c < cols; c++, to += r->vectors) {
        const uint32_t colsum = (uint32_t)p->colsum[j + c];
        const uint32_t base = p->tail.bias ? (uint32_t)p->tail.bias[j + c] : 0;
        if (!p->ldz) {
            const __m256i all = _mm256_set1_epi32((int32_t)(base - r->zero[0] * colsum));
            PCX_UNROLL for (size_t v = 0; v < QSP_MR; v++) /* surplus vectors are overwritten, or not read */
                _mm256_store_si256(to + v, all);
            continue;
        }
        for (size_t v = 0; v < r->vectors; v++) {
            const __m256i zero = _mm256_load_si256((const __m256i *)r->zero + v);
            const __m256i share = _mm256_mullo_epi32(zero, _mm256_set1_epi32((int32_t)colsum));
            _mm256_store_si256(to + v, _mm256_sub_epi32(_mm256_set1_epi32((int32_t)base), share));
        }
    }
    const size_t read = round_up(cols, QT_NR) - cols; /* rows that the epilogue reads but does not use */
    if (read)
        memset(to, 0, read * r->vectors * QSP_STEP);
}

static void qspmm_avx2_multiply(const pcx_qspmm_args *p, size_t j, size_t cols, const qspmm_workspace *r)
{
    const qspmm_acc16 *acc16 = p->prepared;
    group_fn *const run = group_of[r->vectors];
    qspmm_avx2_sums_start(p, j, cols, r);
    if (acc16 && acc16->usable)
        run(acc16->words + acc16->first[j / QSP_NR], r->panel, r->sums);
    else
        qspmm_avx2_unproven(p, j, cols, run, r->panel, r->sums);
}

/* ---- from sums to the output ---- */

/* Four outputs of eight pixels to bytes, those of a pixel together. */
PCX_INLINE __m256i qspmm_avx2_bytes_of_four(const qepilogue_avx2_columns *c, const __m256i *sums, size_t vectors,
                                            size_t j)
{
    const __m256i by_pixel = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5,
                                              9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m256 v[4];
    PCX_UNROLL for (size_t x = 0; x < 4; x++)
        v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_load_si256(sums + (j + x) * vectors)),
                             _mm256_broadcast_ss(c->scale + j + x));
    return _mm256_shuffle_epi8(qepilogue_avx2_bytes(v, &c->clamp, c->skips), by_pixel);
}

/* The output rows of eight pixels; beyond the last one, its row is repeated. */
typedef struct {
    uint8_t *out[QSP_PX];
    const uint8_t *residual[QSP_PX];
} places;

/* Halves of `bytes` to pixels x and y, added to what is there where `add`. */
PCX_INLINE void qspmm_avx2_put(const qepilogue_avx2_columns *c, __m256i bytes, int add, const places *at, int x, int y)
{
    if (add)
        bytes = qepilogue_avx2_add(c->tail, bytes, _mm_loadu_si128((const __m128i *)at->residual[x]),
                                   _mm_loadu_si128((const __m128i *)at->residual[y]));
    _mm_storeu_si128((__m128i *)at->out[x], _mm256_castsi256_si128(bytes));
    _mm_storeu_si128((__m128i *)at->out[y], _mm256_extracti128_si256(bytes, 1));
}

/* All 16 outputs of eight pixels, without table. */
PCX_INLINE void qspmm_avx2_put_plain(const qepilogue_avx2_columns *c, const __m256i *sums, size_t vectors, int add,
                                     const places *at)
{
    __m256i q[4];
    PCX_UNROLL for (size_t x = 0; x < 4; x++)
        q[x] = qspmm_avx2_bytes_of_four(c, sums, vectors, 4 * x);
    const __m256i low[2] = { _mm256_unpacklo_epi32(q[0], q[1]), _mm256_unpacklo_epi32(q[2], q[3]) };
    const __m256i high[2] = { _mm256_unpackhi_epi32(q[0], q[1]), _mm256_unpackhi_epi32(q[2], q[3]) };
    qspmm_avx2_put(c, _mm256_unpacklo_epi64(low[0], low[1]), add, at, 0, 4);
    qspmm_avx2_put(c, _mm256_unpackhi_epi64(low[0], low[1]), add, at, 1, 5);
    qspmm_avx2_put(c, _mm256_unpacklo_epi64(high[0], high[1]), add, at, 2, 6);
    qspmm_avx2_put(c, _mm256_unpackhi_epi64(high[0], high[1]), add, at, 3, 7);
}

/* Eight outputs of eight pixels, without table. */
PCX_INLINE void qspmm_avx2_put_half(const qepilogue_avx2_columns *c, const __m256i *sums, size_t vectors, int add,
                                    const places *at)
{
    const __m256i q0 = qspmm_avx2_bytes_of_four(c, sums, vectors, 0),
                  q1 = qspmm_avx2_bytes_of_four(c, sums, vectors, 4);
    __m256i two[2] = { _mm256_unpacklo_epi32(q0, q1), _mm256_unpackhi_epi32(q0, q1) };
    PCX_UNROLL for (int x = 0; x < 2; x++) { /* pixels 2x, 2x + 1, 2x + 4, 2x + 5 */
        const uint8_t *const *t = at->residual + 2 * x;
        uint8_t *const *o = at->out + 2 * x;
        if (add)
            two[x] = qepilogue_avx2_add(c->tail, two[x], qepilogue_avx2_eights(t[0], t[1]),
                                        qepilogue_avx2_eights(t[4], t[5]));
        qepilogue_avx2_put_eights(o[0], o[1], _mm256_castsi256_si128(two[x]));
        qepilogue_avx2_put_eights(o[4], o[5], _mm256_extracti128_si256(two[x], 1));
    }
}

/* `count` of eight pixels from row i on: all 16 outputs, or eight. */
PCX_INLINE void qspmm_avx2_put_vector(const qepilogue_avx2_columns *c, int plain, int add, const __m256i *sums,
                                      size_t vectors, size_t count, size_t i, uint8_t *out, size_t ldo)
{
    const uint8_t *residual = add ? qepilogue_avx2_residual(c, i) : out;
    places at;
    PCX_UNROLL for (size_t x = 0; x < QSP_PX; x++) {
        const size_t row = min_size(x, count - 1);
        at.out[x] = out + row * ldo;
        at.residual[x] = add ? residual + row * c->tail->q.ldr : residual;
    }
    if (plain)
        qspmm_avx2_put_plain(c, sums, vectors, add, &at);
    else
        qspmm_avx2_put_half(c, sums, vectors, add, &at);
}

PCX_INLINE void qspmm_avx2_put_all(const qepilogue_avx2_columns *c, int plain, int add, const uint8_t *sums,
                                   const qspmm_workspace *r, uint8_t *out, size_t ldo)
{
    const __m256i *at = (const __m256i *)sums;
    const size_t whole = r->count / QSP_PX, rest = r->count % QSP_PX;
    size_t i = r->i;
    for (size_t v = 0; v < whole; v++, at++, i += QSP_PX, out += QSP_PX * ldo)
        qspmm_avx2_put_vector(c, plain, add, at, r->vectors, QSP_PX, i, out, ldo);
    if (rest)
        qspmm_avx2_put_vector(c, plain, add, at, r->vectors, rest, i, out, ldo);
}

/* Any outputs of up to eight pixels. */
static void qspmm_avx2_put_any(const qepilogue_avx2_columns *c, const int32_t *sums, size_t vectors, size_t i,
                               size_t count, uint8_t *out, size_t ldo)
{
    int32_t sum[QSP_PX][QT_NR];
    for (size_t x = 0; x < QSP_PX; x++)
        for (size_t y = 0; y < QT_NR; y++)
            sum[x][y] = sums[y * vectors * QSP_PX + x];
    qepilogue_avx2_rows(c, QSP_PX, i, count, sum, out, ldo);
}

void qspmm_avx2_finish(const pcx_qspmm_args *p, const qepilogue *tail, size_t j, size_t cols, const qspmm_workspace *r,
                       const uint8_t *sums)
{
    const qepilogue_avx2_columns c = qepilogue_avx2_columns_make(tail, j, cols);
    const size_t ldo = p->ldo * tail->bytes;
    const int add = tail->q.residual != NULL;
    uint8_t *const out = (uint8_t *)p->out + r->i * ldo + j * tail->bytes;
    if (c.plain && add)
        qspmm_avx2_put_all(&c, 1, 1, sums, r, out, ldo);
    else if (c.plain)
        qspmm_avx2_put_all(&c, 1, 0, sums, r, out, ldo);
    else if (c.half && add)
        qspmm_avx2_put_all(&c, 0, 1, sums, r, out, ldo);
    else if (c.half)
        qspmm_avx2_put_all(&c, 0, 0, sums, r, out, ldo);
    else
        for (size_t v = 0, at = 0; v < r->vectors; v++, at += QSP_PX)
            qspmm_avx2_put_any(&c, (const int32_t *)sums + at, r->vectors, r->i + at, min_size(r->count - at, QSP_PX),
                               out + at * ldo, ldo);
    if (c.plain && c.rise)
        qepilogue_avx2_lut(c.rise, out, r->count, ldo, 0);
}

PCX_HIDDEN extern const qspmm_micro qspmm_micro_avx2;
const qspmm_micro qspmm_micro_avx2 = { QSP_PX, 1, QSP_MR, { 0, 1, 2, 3, 4, 5, 6, 7 }, qspmm_avx2_gather,
                                       qspmm_avx2_multiply, qspmm_avx2_finish };

PCX_TARGET_END
#endif
