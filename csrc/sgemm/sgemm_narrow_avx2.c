/*
 * sgemm_narrow_avx2.c - products of at most SGEMM_NARROW columns, where panels of 16 would be mostly empty: vectors lie
 * along k.  An output is the sum of a vector's lanes, each of which takes every eighth product of a run; after PIECE
 * products of each row at most these are added to the output, bias and residual last.
 * The error is below that of one sum along k: at most (PIECE / 8 + 3 + PARTS + k / SGEMM_DEEP + 2) roundings.
 */
#include "sgemm_finish_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma,f16c")

enum {
    PIECE = 512,                /* numbers of each row whose weights are turned at once: 16 KiB of stack */
    PARTS = SGEMM_DEEP / PIECE, /* pieces that are added up apart from the others */
    FOUR = 4,
    SUMS = 12 /* of a tile, vectors */
};

/* Numbers of each row: `runs` of `length`, padded to whole vectors, and their weights, [vectors][n][LANES]. */
typedef struct {
    size_t runs, length;
    size_t at[PIECE / LANES]; /* of each run, from a row's first number on */
    float w[PIECE * SGEMM_NARROW];
} sgemm_narrow_piece;

/* Where the sums of a piece go. */
typedef struct {
    float *part;       /* [rows][width]: they are added here; NULL: to the outputs, by */
    float bias[LANES]; /* [width] again and again */
    float low, high;
} sgemm_narrow_tail;

/* n rounded up to a power of two. */
PCX_INLINE size_t sgemm_narrow_avx2_width(size_t n) { return n > FOUR ? LANES : n > 2 ? FOUR : n; }

/* Row k of the panel, its first eight columns. */
PCX_INLINE __m256 sgemm_narrow_avx2_weights(const void *w, size_t k, const sgemm_weights type)
{
    const uint16_t *const half = (const uint16_t *)w + k * SGEMM_NR;
    if (type == SGEMM_F32)
        return _mm256_loadu_ps((const float *)w + k * SGEMM_NR);
    const __m128i bits = _mm_loadu_si128((const __m128i *)half);
    return type == SGEMM_F16 ? _mm256_cvtph_ps(bits)
                             : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/* to[c][i] = weight of column c < n at k + i, zero from i = count on. */
PCX_INLINE void sgemm_narrow_avx2_turn(const void *w, size_t k, size_t count, size_t n, float *to, const sgemm_weights type)
{
    __m256 y[LANES], x[LANES];
    PCX_UNROLL for (size_t i = 0; i < LANES; i++)
        y[i] = i < count ? sgemm_narrow_avx2_weights(w, k + i, type) : _mm256_setzero_ps();
    PCX_UNROLL for (int i = 0; i < LANES; i += 2) { /* two rows: columns 0 0 1 1 | 4 4 5 5, then 2 2 3 3 | 6 6 7 7 */
        x[i] = _mm256_unpacklo_ps(y[i], y[i + 1]);
        x[i + 1] = _mm256_unpackhi_ps(y[i], y[i + 1]);
    }
    PCX_UNROLL for (int c = 0; c < FOUR; c++) /* four rows: column c | c + 4 */
        PCX_UNROLL for (int i = 0; i < LANES; i += FOUR)
            y[i + c] = c % 2 ? _mm256_shuffle_ps(x[i + c / 2], x[i + c / 2 + 2], 0xee)
                             : _mm256_shuffle_ps(x[i + c / 2], x[i + c / 2 + 2], 0x44);
    PCX_UNROLL for (size_t c = 0; c < FOUR; c++) {
        if (c < n)
            _mm256_storeu_ps(to + c * LANES, _mm256_permute2f128_ps(y[c], y[c + FOUR], 0x20));
        if (c + FOUR < n)
            _mm256_storeu_ps(to + (c + FOUR) * LANES, _mm256_permute2f128_ps(y[c], y[c + FOUR], 0x31));
    }
}

/* The piece's weights, from k on. */
PCX_INLINE void sgemm_narrow_avx2_pack(sgemm_narrow_piece *p, const void *w, size_t k, size_t n, const sgemm_weights type)
{
    float *to = p->w;
    for (size_t run = 0; run < p->runs; run++, k += p->length)
        for (size_t q = 0; q < p->length; q += LANES, to += n * LANES) {
            if (PCX_LIKELY(q + LANES <= p->length))
                sgemm_narrow_avx2_turn(w, k + q, LANES, n, to, type);
            else
                sgemm_narrow_avx2_turn(w, k + q, p->length - q, n, to, type);
        }
}

/* sum += x times a vector of weights. */
PCX_INLINE void sgemm_narrow_avx2_step(const float *const *a, size_t q, __m256i mask, const int whole, const float *w,
                                  const int rows, const int n, __m256 sum[])
{
    __m256 x[LANES];
    PCX_UNROLL for (int r = 0; r < rows; r++)
        x[r] = whole ? _mm256_loadu_ps(a[r] + q) : _mm256_maskload_ps(a[r] + q, mask);
    PCX_UNROLL for (int c = 0; c < n; c++) {
        if (rows == 1) {
            PCX_FMADD_MEMORY(sum[c], x[0], *(const __m256_u *)(const void *)(w + c * LANES));
            continue;
        }
        const __m256 weight = _mm256_loadu_ps(w + c * LANES);
        PCX_UNROLL for (int r = 0; r < rows; r++)
            PCX_FMADD(sum[r * n + c], x[r], weight);
    }
}

/* The sums of rows times n columns, each in eight lanes. */
PCX_INLINE void sgemm_narrow_avx2_sums(const float *const *row, const size_t *at, size_t runs, size_t length, __m256i mask,
                                  const float *w, const int rows, const int n, __m256 sum[])
{
    const float *a[LANES];
    PCX_UNROLL for (int v = 0; v < rows * n; v++)
        sum[v] = _mm256_setzero_ps();
    for (; runs; runs--, at++) {
        size_t q = 0;
        PCX_UNROLL for (int r = 0; r < rows; r++)
            a[r] = row[r] + *at;
        for (; q + LANES <= length; q += LANES, w += n * LANES) {
            PCX_OPAQUE(q);
            sgemm_narrow_avx2_step(a, q, mask, 1, w, rows, n, sum);
        }
        if (length % LANES) {
            sgemm_narrow_avx2_step(a, q, mask, 0, w, rows, n, sum);
            w += n * LANES;
        }
    }
}

/* The sums of the lanes of four vectors. */
PCX_INLINE __m128 sgemm_narrow_avx2_add_up(__m256 a, __m256 b, __m256 c, __m256 d)
{
    const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

/* The first `count` of four numbers. */
PCX_INLINE void sgemm_narrow_avx2_put(float *out, __m128 v, const int count)
{
    if (count >= FOUR)
        _mm_storeu_ps(out, v);
    if (count == 2 || count == 3)
        _mm_storel_pi((__m64 *)(void *)out, v);
    if (count == 1)
        _mm_store_ss(out, v);
    if (count == 3)
        _mm_store_ss(out + 2, _mm_movehl_ps(v, v));
}

/* Four outputs of [row][width], the first of them column c of out[0], of n. */
PCX_INLINE void sgemm_narrow_avx2_out(__m128 v, float *const *out, const int c, const int n)
{
    if (n == 1) {
        if (PCX_LIKELY(out[FOUR - 1] - out[0] == FOUR - 1)) {
            _mm_storeu_ps(out[0], v);
            return;
        }
        _mm_store_ss(out[0], v);
        _mm_store_ss(out[1], _mm_movehdup_ps(v));
        v = _mm_movehl_ps(v, v);
        _mm_store_ss(out[2], v);
        _mm_store_ss(out[3], _mm_movehdup_ps(v));
    } else if (n == 2) {
        _mm_storel_pi((__m64 *)(void *)out[0], v);
        _mm_storeh_pi((__m64 *)(void *)out[1], v);
    } else {
        sgemm_narrow_avx2_put(out[0] + c, v, n - c);
    }
}

/* `tiles` times `rows` rows. */
PCX_INLINE void sgemm_narrow_avx2_tiles(const float *const *row, float *const *out, size_t tiles,
                                   const sgemm_narrow_piece *p, const sgemm_narrow_tail *t, const int rows, const int n)
{
    const int width = (int)sgemm_narrow_avx2_width((size_t)n);
    const size_t runs = p->runs, length = p->length;
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(length % LANES)), lane);
    const __m128 bias[2] = { _mm_loadu_ps(t->bias), _mm_loadu_ps(t->bias + FOUR) };
    const __m128 low = _mm_set1_ps(t->low), high = _mm_set1_ps(t->high);
    float *part = t->part;
    for (; tiles; tiles--, row += rows, out += rows) {
        __m256 sum[SUMS];
        sgemm_narrow_avx2_sums(row, p->at, runs, length, mask, p->w, rows, n, sum);
        PCX_UNROLL for (int v = 0; v < rows * width; v += FOUR) {
            const int r = v / width, c = v % width;
            const __m256 *const s = sum + r * n + c;
            const int last = n <= 2 ? FOUR - 1 : n - 1 - c, two = last < 2 ? last : 2; /* beyond n the last again */
            __m128 four = sgemm_narrow_avx2_add_up(s[0], s[last < 1 ? last : 1], s[two], s[last < 3 ? last : 3]);
            if (part) {
                _mm_storeu_ps(part + v, _mm_add_ps(_mm_loadu_ps(part + v), four));
                continue;
            }
            four = _mm_add_ps(four, bias[c / FOUR]);
            four = _mm_min_ps(high, _mm_max_ps(low, four)); /* of NaN, the second argument */
            sgemm_narrow_avx2_out(four, out + r, c, n);
        }
        part = part ? part + rows * width : NULL;
    }
}

#define TILES(rows, n) \
    PCX_NOINLINE static void sgemm_narrow_tiles_##rows##x##n(const float *const *row, float *const *out, size_t tiles, \
                                                             const sgemm_narrow_piece *p, const sgemm_narrow_tail *t) \
    { \
        sgemm_narrow_avx2_tiles(row, out, tiles, p, t, rows, n); \
    }
TILES(8, 1) TILES(4, 2) TILES(3, 3) TILES(3, 4) TILES(2, 5) TILES(2, 6) TILES(1, 7) TILES(1, 8)

static const struct {
    size_t rows; /* of a tile */
    void (*run)(const float *const *row, float *const *out, size_t tiles, const sgemm_narrow_piece *p,
                const sgemm_narrow_tail *t);
} shapes[] = {
    { 1, NULL },
    { 8, sgemm_narrow_tiles_8x1 },
    { 4, sgemm_narrow_tiles_4x2 },
    { 3, sgemm_narrow_tiles_3x3 },
    { 3, sgemm_narrow_tiles_3x4 },
    { 2, sgemm_narrow_tiles_2x5 },
    { 2, sgemm_narrow_tiles_2x6 },
    { 1, sgemm_narrow_tiles_1x7 },
    { 1, sgemm_narrow_tiles_1x8 },
};

/* The piece's sums of all rows, to t->part or the outputs. */
static void sgemm_narrow_avx2_rows(const sgemm_rows *r, size_t n, const sgemm_narrow_piece *p, sgemm_narrow_tail t)
{
    const size_t rows = shapes[n].rows, tiles = r->count / rows, done = tiles * rows, width = sgemm_narrow_avx2_width(n);
    const float *row[LANES];
    float *out[LANES], scratch[LANES * LANES];
    if (tiles)
        shapes[n].run(r->a, r->out, tiles, p, &t);
    if (done == r->count)
        return;
    for (size_t x = 0; x < rows; x++) { /* past the end the last row again, into nowhere */
        row[x] = r->a[min_size(done + x, r->count - 1)];
        out[x] = done + x < r->count ? r->out[done + x] : scratch;
    }
    t.part = t.part ? t.part + done * width : NULL;
    shapes[n].run(row, out, 1, p, &t);
}

/* From all sums [rows][width] to the outputs. */
static void sgemm_narrow_avx2_finish(const sgemm_rows *r, const sgemm_target *to, float *sum, const float *bias)
{
    const pcx_epilogue *const tail = to->tail;
    const size_t width = sgemm_narrow_avx2_width(to->n), all = round_up(r->count * width, LANES);
    for (size_t i = 0; i < all; i += LANES)
        _mm256_storeu_ps(sum + i, _mm256_add_ps(_mm256_loadu_ps(sum + i), _mm256_loadu_ps(bias)));
    for (size_t i = 0; tail->residual && i < r->count; i++)
        for (size_t j = 0; j < to->n; j++)
            sum[i * width + j] += r->residual[i][j];
    act_avx2_row(sum, sum, all, tail->act, tail->act_params);
    for (size_t i = 0; i < r->count; i++)
        sgemm_finish_put(r->out[i], _mm256_loadu_ps(sum + i * width), to->n);
}

/* The next piece, from `place`, `done` numbers into its run: whole runs or a part of one. */
typedef struct {
    size_t run, line, column, done, k; /* of the walk: the run, its line, its place there */
} sgemm_narrow_place;

PCX_INLINE void sgemm_narrow_avx2_next(const sgemm_rows *r, size_t runs, sgemm_narrow_place *at, sgemm_narrow_piece *p)
{
    const size_t padded = round_up(r->length, LANES);
    p->length = min_size(r->length - at->done, PIECE);
    p->runs = padded <= PIECE ? min_size(runs - at->run, PIECE / padded) : 1;
    for (size_t x = 0;;) {
        p->at[x] = at->line * r->line_step + at->column * r->run_step + at->done;
        if (++x == p->runs)
            break;
        at->column = at->column + 1 < r->runs ? at->column + 1 : 0;
        at->line += !at->column;
    }
}

/* Past the piece. */
PCX_INLINE void sgemm_narrow_avx2_pass(const sgemm_rows *r, const sgemm_narrow_piece *p, sgemm_narrow_place *at)
{
    at->k += p->runs * p->length;
    at->done += p->length;
    if (at->done < r->length)
        return;
    at->done = 0;
    at->run += p->runs;
    at->column = at->column + 1 < r->runs ? at->column + 1 : 0;
    at->line += !at->column;
}

/* total += part, and part = 0. */
static void sgemm_narrow_avx2_deposit(float *part, float *total, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        total[i] += part[i];
        part[i] = 0;
    }
}

void sgemm_narrow_avx2(const sgemm_rows *r, const sgemm_target *to, const void *w, sgemm_weights type)
{
    enum { ALL = (SGEMM_MB + LANES) * SGEMM_NARROW };
    const pcx_epilogue *const tail = to->tail;
    const size_t n = to->n, runs = r->length ? r->lines * r->runs : 0, width = sgemm_narrow_avx2_width(n);
    const int once = runs && runs * round_up(r->length, LANES) <= PIECE && !tail->residual && tail->act <= PCX_ACT_CLIP;
    const int deep = runs * round_up(r->length, LANES) > SGEMM_DEEP;
    float part[ALL], total[ALL];
    sgemm_narrow_tail t = { .part = once ? NULL : part };
    sgemm_narrow_piece p;
    sgemm_narrow_place at = { 0 };
    act_bounds(tail->act, tail->act_params, &t.low, &t.high);
    for (size_t j = 0; tail->bias && j < LANES; j++)
        t.bias[j] = j % width < n ? tail->bias[j % width] : 0;
    if (!once)
        memset(part, 0, sizeof part);
    if (deep)
        memset(total, 0, sizeof total);
    for (size_t parts = 1; at.run < runs; parts++) {
        sgemm_narrow_avx2_next(r, runs, &at, &p);
        if (type == SGEMM_F32)
            sgemm_narrow_avx2_pack(&p, w, at.k, n, SGEMM_F32);
        else if (type == SGEMM_F16)
            sgemm_narrow_avx2_pack(&p, w, at.k, n, SGEMM_F16);
        else
            sgemm_narrow_avx2_pack(&p, w, at.k, n, SGEMM_BF16);
        sgemm_narrow_avx2_rows(r, n, &p, t);
        sgemm_narrow_avx2_pass(r, &p, &at);
        if (deep && (parts % PARTS == 0 || at.run == runs))
            sgemm_narrow_avx2_deposit(part, total, ALL);
    }
    if (!once)
        sgemm_narrow_avx2_finish(r, to, deep ? total : part, t.bias);
}

PCX_TARGET_END
#endif
