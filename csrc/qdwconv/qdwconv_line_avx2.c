/* qdwconv_line_avx2.c - 32 channels of one or two pixels at a time, taps in pairs: qdwproof.h. */
#include "qdwconv_line.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* 32 channels of a layer: their weights and their tail. */
typedef struct {
    __m256i base[4]; /* where the sums start */
    __m256 scale[4];
    const qdwproof *proof;
    size_t j;          /* the first of the channels */
    size_t skip, cols; /* of the 32, [skip, skip + cols) are to be written */
    int plain, small;  /* to u8 without residual, and table but with `all`; qt_small_avx2 */
    int all;           /* all 32 may be written: those skipped get the same bytes again */
    int near;          /* all of base lie in [-2^22, 2^22] */
    __m256 less[4];    /* 2^23 - base, where near */
} group;

enum { NEAR = 1 << 23 };

/* What the room holds: groups, then addresses of taps. */
static size_t taps_at(size_t c) { return qdw_groups(c) * sizeof(group); }

size_t qdw_line_bytes(size_t kh, size_t kw, size_t c) { return taps_at(c) + round_up((kh * kw + 1) * 8, 64); }

/* Channels [j, j + count) of an array that may be NULL, as 32 with zeros behind. */
PCX_INLINE const void *all32(const void *array, size_t j, size_t count, void *room)
{
    if (array && count == QDW_NC)
        return (const char *)array + j * 4;
    memset(room, 0, 4 * QDW_NC);
    if (array)
        memcpy(room, (const char *)array + j * 4, count * 4);
    return room;
}

/* What every pixel has in common: acc = sum a w - azp (colsum - taps wzp) + bias; windows start off by `fix`. */
static void group_make(const qdw_layer *l, size_t index, group *to)
{
    uint32_t room[4][QDW_NC], base[QDW_NC];
    const qtail *t = l->tail;
    const qdwproof *g = l->proofs + index;
    const size_t j = g->first, skip = index * QDW_NC - j, cols = min_size(QDW_NC, l->c - index * QDW_NC);
    const uint32_t *bias = all32(t->q.bias, j, skip + cols, room[0]), *sum = all32(l->colsum, j, skip + cols, room[1]);
    const uint32_t *wzp = all32(l->wzp, j, skip + cols, room[2]);
    const float *scale = all32(t->q.scale, j, skip + cols, room[3]);
    const uint32_t zero = (uint32_t)l->xzp, taps = (uint32_t)(l->kh * l->kw);
    for (size_t x = 0; x < QDW_NC; x++)
        base[x] = bias[x] - zero * (sum[x] - taps * wzp[x]) - (uint32_t)g->fix[x];
    *to = (group){ .proof = g, .j = j, .skip = skip, .cols = cols, .small = qt_small_avx2(scale, QDW_NC),
                   .all = skip + cols == QDW_NC };
    to->plain = t->mode == QT_U8 && !t->q.residual && (to->all || !t->q.lut);
    to->near = 1;
    for (size_t x = 0; x < QDW_NC; x++)
        to->near &= base[x] + NEAR / 2 <= NEAR;
    for (int v = 0; v < 4; v++) {
        to->base[v] = _mm256_loadu2_m128i((const __m128i *)(base + 16 + 4 * v), (const __m128i *)(base + 4 * v));
        to->scale[v] = _mm256_loadu2_m128(scale + 16 + 4 * v, scale + 4 * v);
        to->less[v] = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(NEAR), to->base[v]));
    }
}

void qdw_line_make(const qdw_layer *l)
{
    for (size_t i = 0; i < qdw_groups(l->c); i++)
        group_make(l, i, (group *)l->room + i);
}

PCX_INLINE __m256i dw_load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }

/* ---- sliding along a line ---- */

enum {
    CHUNK = 32,  /* pixels whose sums wait in memory for their tail */
    AGES = 5,    /* pixels whose windows meet one column, at most */
};

/* A line for 32 channels, chunk by chunk. */
typedef struct {
    const group *f;
    uintptr_t row[5]; /* of column 0 and the first channel, though it may lie before what there is */
    uintptr_t pad;
    size_t step, low, high;
    size_t first, last;          /* steps [first, last) meet no missing column */
    __m256i state[2][2][AGES];   /* [half][window][age]: sums of pixels that are not complete */
    __m256i sums[CHUNK][2][2];   /* [step][half][window]: the pixel that became complete */
} slide;

PCX_INLINE __m256i dw_interleave(const int half, uintptr_t x0, uintptr_t x1)
{
    const __m256i a = dw_load((const void *)x0), b = dw_load((const void *)x1);
    return half ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b);
}

PCX_INLINE uintptr_t dw_at(const slide *s, const int checked, size_t ky, size_t x)
{
    const uintptr_t at = s->row[ky] + x * s->step;
    return !checked || (x >= s->low && x < s->high) ? at : s->pad;
}

/* acc, x's weighted by the pair's, added up in int16. */
PCX_INLINE __m256i dw_more(__m256i acc, __m256i x, __m256i w)
{
    acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(x, w));
    PCX_KEEP(acc); /* else GCC reassociates the sums and spills */
    return acc;
}

/*
 * One step: the sw columns from x * sw on, and what each of them adds to the pixels whose windows meet it: the one
 * that starts here is of age 0.
 */
PCX_INLINE void dw_step(const size_t kh, const size_t kw, const size_t sw, const size_t T, const int half,
                        const int checked, const slide *s, size_t x, const __m256i *w, __m256i acc[2][AGES])
{
    PCX_UNROLL for (size_t d = 0; d < sw; d++) {
        const size_t column = x * sw + d;
        PCX_UNROLL for (size_t two = 0; two < kh / 2; two++) {
            const __m256i v = dw_interleave(half, dw_at(s, checked, 2 * two, column), dw_at(s, checked, 2 * two + 1, column));
            PCX_UNROLL for (size_t kx = d; kx < kw; kx += sw) {
                const size_t q = two * kw + kx;
                acc[q / T][kx / sw] = dw_more(acc[q / T][kx / sw], v, w[q]);
            }
        }
        if (d % 2 == 0) { /* the last row: columns kx and kx + 1 */
            const __m256i v = dw_interleave(half, dw_at(s, checked, kh - 1, column), dw_at(s, checked, kh - 1, column + 1));
            PCX_UNROLL for (size_t kx = 0; kx < kw; kx += 2)
                if (kx % sw == 0) {
                    const size_t q = kh / 2 * kw + kx / 2;
                    acc[q / T][kx / sw] = dw_more(acc[q / T][kx / sw], v, w[q]);
                }
        }
    }
}

PCX_INLINE void dw_slide(const size_t kh, const size_t kw, const size_t sw, const size_t T, const int half, slide *s,
                         size_t begin, size_t end)
{
    const size_t pairs = (kh * kw + 1) / 2, windows = (pairs + T - 1) / T, ages = (kw + sw - 1) / sw;
    const qdwproof *g = s->f->proof;
    __m256i w[13], acc[2][AGES], start[2];
    PCX_UNROLL for (size_t q = 0; q < pairs; q++)
        w[q] = dw_load(g->pairs + (half * pairs + q) * 32);
    PCX_UNROLL for (size_t i = 0; i < windows; i++) {
        start[i] = dw_load(g->start + (half * windows + i) * 16);
        PCX_UNROLL for (size_t age = 0; age < ages; age++)
            acc[i][age] = s->state[half][i][age];
    }
    for (size_t x = begin; x < end; x++) {
        PCX_UNROLL for (size_t i = 0; i < windows; i++) {
            PCX_UNROLL for (size_t age = ages - 1; age > 0; age--)
                acc[i][age] = acc[i][age - 1];
            acc[i][0] = start[i];
        }
        if (PCX_LIKELY(x >= s->first && x < s->last))
            dw_step(kh, kw, sw, T, half, 0, s, x, w, acc);
        else
            dw_step(kh, kw, sw, T, half, 1, s, x, w, acc);
        PCX_UNROLL for (size_t i = 0; i < windows; i++)
            _mm256_store_si256(&s->sums[x - begin][half][i], acc[i][ages - 1]);
    }
    PCX_UNROLL for (size_t i = 0; i < windows; i++)
        PCX_UNROLL for (size_t age = 0; age < ages; age++)
            s->state[half][i][age] = acc[i][age];
}

/* ---- any kernel, pixel by pixel ---- */

/* Pixels [first, first + count): tap t of the i-th is at tap[t] + i * step. */
typedef struct {
    const uintptr_t *tap; /* in pairs; an odd number of them has one more, of weight zero */
    size_t step, first, count;
    uint8_t *out;
    size_t ldo;
} run;

/* One window: pairs [from, to) of a pixel and its two halves of 16 channels. */
PCX_INLINE void dw_window(const int count, const size_t pairs, const size_t T, const qdwproof *g, size_t from, size_t to,
                          const uintptr_t *tap, const uintptr_t *base, __m256i acc[][2])
{
    PCX_UNROLL for (int i = 0; i < count; i++)
        PCX_UNROLL for (size_t h = 0; h < 2; h++)
            acc[i][h] = T > 1 && from < to ? dw_load(g->start + (h * ceil_div(pairs, T) + from / T) * 16)
                                           : _mm256_setzero_si256();
    PCX_UNROLL for (size_t q = from; q < to; q++) {
        const __m256i w0 = dw_load(g->pairs + q * 32), w1 = dw_load(g->pairs + (pairs + q) * 32);
        PCX_UNROLL for (int i = 0; i < count; i++) {
            __m256i x0 = dw_load((const void *)(base[i] + tap[2 * q]));
            __m256i x1 = dw_load((const void *)(base[i] + tap[2 * q + 1]));
            PCX_KEEP(x0); /* loads are scarce: once each, not again as operands */
            PCX_KEEP(x1);
            acc[i][0] = _mm256_add_epi16(acc[i][0], _mm256_maddubs_epi16(_mm256_unpacklo_epi8(x0, x1), w0));
            acc[i][1] = _mm256_add_epi16(acc[i][1], _mm256_maddubs_epi16(_mm256_unpackhi_epi8(x0, x1), w1));
            PCX_KEEP(acc[i][0]); /* else GCC reassociates the sums and spills */
            PCX_KEEP(acc[i][1]);
        }
    }
}

/* All windows, two at a time: vpmaddwd adds the two while it widens them. */
PCX_INLINE void dw_windows(const int count, const size_t pairs, const size_t T, const qdwproof *g,
                           const uintptr_t *tap, const uintptr_t *base, __m256i sum[][4])
{
    const __m256i ones = _mm256_set1_epi16(1);
    PCX_UNROLL for (size_t from = 0; from < pairs; from += 2 * T) {
        __m256i a[2][2], b[2][2];
        const size_t middle = min_size(from + T, pairs), to = min_size(middle + T, pairs);
        dw_window(count, pairs, T, g, from, middle, tap, base, a);
        dw_window(count, pairs, T, g, middle, to, tap, base, b);
        PCX_UNROLL for (int i = 0; i < count; i++)
            PCX_UNROLL for (int h = 0; h < 2; h++) {
                __m256i low = _mm256_unpacklo_epi16(a[i][h], b[i][h]);
                __m256i high = _mm256_unpackhi_epi16(a[i][h], b[i][h]);
                if (T == 1 || pairs > T) { /* else unsigned, and b is zero */
                    low = _mm256_madd_epi16(low, ones);
                    high = _mm256_madd_epi16(high, ones);
                }
                sum[i][2 * h] = _mm256_add_epi32(sum[i][2 * h], low);
                sum[i][2 * h + 1] = _mm256_add_epi32(sum[i][2 * h + 1], high);
            }
    }
}

/* Nothing proven: products of int16. */
PCX_INLINE void dw_wide(const int count, const size_t pairs, const qdwproof *g, const uintptr_t *tap,
                        const uintptr_t *base, __m256i sum[][4])
{
    const __m256i zero = _mm256_setzero_si256();
    PCX_UNROLL for (size_t q = 0; q < pairs; q++)
        PCX_UNROLL for (int i = 0; i < count; i++) {
            __m256i x0 = dw_load((const void *)(base[i] + tap[2 * q]));
            __m256i x1 = dw_load((const void *)(base[i] + tap[2 * q + 1]));
            PCX_KEEP(x0);
            PCX_KEEP(x1);
            const __m256i both[2] = { _mm256_unpacklo_epi8(x0, x1), _mm256_unpackhi_epi8(x0, x1) };
            PCX_UNROLL for (int v = 0; v < 4; v++) {
                const __m256i x = v % 2 ? _mm256_unpackhi_epi8(both[v / 2], zero)
                                        : _mm256_unpacklo_epi8(both[v / 2], zero);
                sum[i][v] = _mm256_add_epi32(sum[i][v], _mm256_madd_epi16(x, dw_load(g->wide + q * 64 + 16 * v)));
                PCX_KEEP(sum[i][v]);
            }
        }
}

/* Sums of output pixel i to outputs at `out`, whatever the tail. */
static PCX_NOINLINE void dw_finish(const qtail *t, const group *f, size_t i, const __m256i sum[4], uint8_t *out)
{
    uint8_t each[QDW_NC] = { 0 };
    if (t->mode != QT_U8) {
        int32_t acc[QDW_NC];
        for (int v = 0; v < 4; v++) {
            _mm_storeu_si128((__m128i *)(acc + 4 * v), _mm256_castsi256_si128(sum[v]));
            _mm_storeu_si128((__m128i *)(acc + 16 + 4 * v), _mm256_extracti128_si256(sum[v], 1));
        }
        qtail_row(t, i, f->j + f->skip, f->cols, acc + f->skip, out + f->skip * t->bytes);
        return;
    }
    const qt_clamp_avx2 clamp = qt_load_clamp(&t->clamp);
    __m256 v[4];
    for (int x = 0; x < 4; x++)
        v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[x]), f->scale[x]);
    __m256i bytes = qt_bytes_avx2(v, &clamp, f->small);
    if (t->q.lut)
        bytes = qt_table_avx2(t->rise, bytes);
    if (t->q.residual) {
        memcpy(each, t->q.residual + i * t->q.ldr + f->j, f->skip + f->cols);
        bytes = qt_residual_avx2(t, bytes, _mm_loadu_si128((__m128i *)each), _mm_loadu_si128((__m128i *)(each + 16)));
    }
    _mm256_storeu_si256((__m256i *)each, bytes);
    memcpy(out + f->skip, each + f->skip, f->cols);
}

/* The first of 32 bytes. */
PCX_INLINE void dw_store(uint8_t *to, size_t cols, __m256i bytes)
{
    uint8_t each[QDW_NC];
    _mm256_storeu_si256((__m256i *)each, bytes);
    size_t c = 0;
    for (; c + 8 <= cols; c += 8)
        memcpy(to + c, each + c, 8);
    for (; c < cols; c++)
        to[c] = each[c];
}

/* `count` pixels from base[0] on. */
PCX_INLINE void dw_pixels(const int count, const size_t pairs, const size_t T, const qtail *t, const group *f,
                          const qt_clamp_avx2 *clamp, const run *r, const uintptr_t *base, size_t i, uint8_t *out)
{
    __m256i sum[2][4];
    PCX_UNROLL for (int x = 0; x < count; x++)
        PCX_UNROLL for (int v = 0; v < 4; v++)
            sum[x][v] = f->base[v];
    if (T)
        dw_windows(count, pairs, T, f->proof, r->tap, base, sum);
    else
        dw_wide(count, pairs, f->proof, r->tap, base, sum);
    PCX_UNROLL for (int x = 0; x < count; x++)
        if (PCX_LIKELY(f->plain)) {
            __m256 v[4];
            PCX_UNROLL for (int y = 0; y < 4; y++)
                v[y] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[x][y]), f->scale[y]);
            const __m256i bytes = qt_bytes_avx2(v, clamp, f->small);
            if (PCX_LIKELY(f->all))
                _mm256_storeu_si256((__m256i *)(out + x * r->ldo), bytes);
            else
                dw_store(out + x * r->ldo, f->cols, bytes);
        } else {
            const __m256i each[4] = { sum[x][0], sum[x][1], sum[x][2], sum[x][3] };
            dw_finish(t, f, i + x, each, out + x * r->ldo);
        }
}

/* Two pixels at a time, so that weights are loaded once for both. */
PCX_INLINE void dw_run(const size_t pairs, const size_t T, const qtail *t, const group *f, const run *r)
{
    const qt_clamp_avx2 clamp = qt_load_clamp(&t->clamp);
    const size_t step = r->step, ldo = r->ldo, end = r->first + r->count;
    uintptr_t base[2] = { f->j, step + f->j };
    size_t i = r->first;
    uint8_t *first = r->out + f->j * t->bytes, *out = first;
    for (; i + 2 <= end; i += 2, base[0] += 2 * step, base[1] += 2 * step, out += 2 * ldo)
        dw_pixels(2, pairs, T, t, f, &clamp, r, base, i, out);
    if (i < end)
        dw_pixels(1, pairs, T, t, f, &clamp, r, base, i, out);
    if (f->plain && t->q.lut)
        qt_lut_avx2(t->rise, first, r->count, ldo, 1);
}

typedef void dw_fn(size_t pairs, const qtail *t, const group *f, const run *r);

#define DW(name, count, T)                                                                                    \
    static PCX_NOINLINE void dw_##name##_##T(size_t pairs, const qtail *t, const group *f, const run *r)      \
    {                                                                                                         \
        (void)pairs;                                                                                          \
        dw_run(count, T, t, f, r);                                                                            \
    }
DW(3x3, 5, 7) DW(3x3, 5, 3) DW(3x3, 5, 1) DW(3x3, 5, 0) DW(5x5, 13, 7) DW(5x5, 13, 3)
DW(any, pairs, 7) DW(any, pairs, 3) DW(any, pairs, 1) DW(any, pairs, 0)
#undef DW

static dw_fn *dw_choose(size_t taps, size_t window)
{
    switch (window) {
    case 7: return taps == 9 ? dw_3x3_7 : taps == 25 ? dw_5x5_7 : dw_any_7;
    case 3: return taps == 9 ? dw_3x3_3 : taps == 25 ? dw_5x5_3 : dw_any_3;
    case 1: return taps == 9 ? dw_3x3_1 : dw_any_1;
    default: return taps == 9 ? dw_3x3_0 : dw_any_0;
    }
}

/* ---- sliding: tails and lines ---- */

enum { ONE_NEAR, ONE, TWO }; /* windows; ONE_NEAR: and f->near */

/* The int32 sums of 32 channels, from those of the windows. */
PCX_INLINE void dw_widen(const int kind, const group *f, __m256i sums[2][2], __m256i sum[4])
{
    PCX_UNROLL for (int h = 0; h < 2; h++) {
        const __m256i a = sums[h][0], b = kind == TWO ? sums[h][1] : _mm256_setzero_si256();
        sum[2 * h] = _mm256_unpacklo_epi16(a, b);
        sum[2 * h + 1] = _mm256_unpackhi_epi16(a, b);
    }
    PCX_UNROLL for (int v = 0; v < 4; v++) {
        if (kind == TWO)
            sum[v] = _mm256_madd_epi16(sum[v], _mm256_set1_epi16(1));
        sum[v] = _mm256_add_epi32(sum[v], f->base[v]);
    }
}

/* The same as floats.  2^23 + u has the bits of u in its last ones, and is exact less 2^23 - base. */
PCX_INLINE void dw_floats(const int kind, const group *f, __m256i sums[2][2], __m256 v[4])
{
    __m256i sum[4];
    if (kind != ONE_NEAR) {
        dw_widen(kind, f, sums, sum);
        PCX_UNROLL for (int i = 0; i < 4; i++)
            v[i] = _mm256_cvtepi32_ps(sum[i]);
        return;
    }
    const __m256i high = _mm256_set1_epi16(0x4b00);
    PCX_UNROLL for (int h = 0; h < 2; h++) {
        v[2 * h] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(sums[h][0], high));
        v[2 * h + 1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(sums[h][0], high));
    }
    PCX_UNROLL for (int i = 0; i < 4; i++)
        v[i] = _mm256_sub_ps(v[i], f->less[i]);
}

/* Plain tails of `count` pixels; bare: no zero point, nothing to clamp. */
PCX_INLINE void dw_plain(const int kind, const int bare, const qtail *t, const group *f, __m256i sums[][2][2],
                         size_t count, uint8_t *out, size_t ldo)
{
    const qt_clamp_avx2 clamp = qt_load_clamp(&t->clamp);
    for (size_t i = 0; i < count; i++, out += ldo) {
        __m256 v[4];
        __m256i bytes;
        dw_floats(kind, f, sums[i], v);
        PCX_UNROLL for (int x = 0; x < 4; x++)
            v[x] = _mm256_mul_ps(v[x], f->scale[x]);
        if (bare)
            bytes = _mm256_packus_epi16(_mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1])),
                                        _mm256_packs_epi32(_mm256_cvtps_epi32(v[2]), _mm256_cvtps_epi32(v[3])));
        else
            bytes = qt_bytes_avx2(v, &clamp, f->small);
        if (PCX_LIKELY(f->all))
            _mm256_storeu_si256((__m256i *)out, bytes);
        else
            dw_store(out, f->cols, bytes);
    }
}

PCX_INLINE void dw_tails(const size_t windows, const qtail *t, slide *s, size_t from, size_t to, size_t first, uint8_t *out,
                         size_t ldo)
{
    const group *f = s->f;
    const int bare = f->small && t->clamp.zero == 0 && t->clamp.least == 0 && t->clamp.greatest == 255;
    if (!f->plain) {
        for (size_t i = from; i < to; i++) {
            __m256i sum[4];
            dw_widen(windows == 2 ? TWO : ONE, f, s->sums[i], sum);
            dw_finish(t, f, first + i - from, sum, out + (i - from) * ldo);
        }
        return;
    }
    if (windows == 2) {
        if (bare)
            dw_plain(TWO, 1, t, f, s->sums + from, to - from, out, ldo);
        else
            dw_plain(TWO, 0, t, f, s->sums + from, to - from, out, ldo);
    } else if (f->near) {
        if (bare)
            dw_plain(ONE_NEAR, 1, t, f, s->sums + from, to - from, out, ldo);
        else
            dw_plain(ONE_NEAR, 0, t, f, s->sums + from, to - from, out, ldo);
    } else {
        dw_plain(ONE, 0, t, f, s->sums + from, to - from, out, ldo);
    }
}

PCX_INLINE void dw_line(const size_t kh, const size_t kw, const size_t sw, const size_t T, const qtail *t, const group *f,
                        const qdw_line *line)
{
    const size_t ages = (kw + sw - 1) / sw, steps = line->count + ages - 1, more = sw > 1 ? sw - 1 : 1;
    slide s;
    s.f = f;
    for (size_t ky = 0; ky < kh; ky++)
        s.row[ky] = (uintptr_t)line->row[ky] - line->low * line->step + f->j;
    s.pad = (uintptr_t)line->pad;
    s.step = line->step;
    s.low = line->low;
    s.high = line->high;
    s.first = (line->low + sw - 1) / sw;
    s.last = line->high > more ? (line->high - more - 1) / sw + 1 : 0;
    memset(s.state, 0, sizeof s.state);
    uint8_t *first = line->out + f->j * t->bytes, *out = first;
    for (size_t x = 0, done = 0; x < steps; x += CHUNK) {
        const size_t end = min_size(x + CHUNK, steps), from = x ? 0 : ages - 1;
        dw_slide(kh, kw, sw, T, 0, &s, x, end);
        dw_slide(kh, kw, sw, T, 1, &s, x, end);
        dw_tails((kh * kw + 1) / 2 > T ? 2 : 1, t, &s, from, end - x, line->first + done, out, line->ldo);
        done += end - x - from;
        out += (end - x - from) * line->ldo;
    }
    if (f->plain && t->q.lut)
        qt_lut_avx2(t->rise, first, line->count, line->ldo, 1);
}

typedef void dw_line_fn(const qtail *t, const group *f, const qdw_line *line);

#define LINE(k, sw)                                                                               \
    static PCX_NOINLINE void dw_line_##k##x##k##s##sw(const qtail *t, const group *f, const qdw_line *line) \
    {                                                                                             \
        dw_line(k, k, sw, 7, t, f, line);                                                         \
    }
LINE(3, 1) LINE(3, 2) LINE(5, 1) LINE(5, 2)
#undef LINE

/* The function that slides, if there is one. */
static dw_line_fn *dw_choose_line(const qdw_layer *l, const qdwproof *g)
{
    if (g->window != 7 || l->kh != l->kw || l->dw != 1 || (l->sw != 1 && l->sw != 2))
        return NULL;
    if (l->kh == 3)
        return l->sw == 1 ? dw_line_3x3s1 : dw_line_3x3s2;
    return l->kh != 5 ? NULL : l->sw == 1 ? dw_line_5x5s1 : dw_line_5x5s2;
}

/* The addresses of the taps of pixel i, in the order of the pairs. */
static void taps_make(const qdw_layer *l, const qdw_line *line, size_t i, uintptr_t *tap)
{
    uintptr_t *to = tap;
    for (size_t two = 0; two < l->kh; two += 2)
        for (size_t kx = 0; kx < l->kw; kx++)
            for (size_t ky = two; ky < min_size(two + 2, l->kh); ky++) {
                const size_t x = i * l->sw + kx * l->dw;
                const int there = x >= line->low && x < line->high;
                *to++ = there ? (uintptr_t)line->row[ky] + (x - line->low) * line->step : (uintptr_t)line->pad;
            }
    *to = to[-1];
}

/* How many of the pixels from i on, at least one, have windows without missing columns; 1 if the first misses some. */
static size_t whole(const qdw_layer *l, const qdw_line *line, size_t i)
{
    const size_t x = i * l->sw, wide = (l->kw - 1) * l->dw;
    if (x < line->low || x + wide >= line->high)
        return 1;
    return min_size(line->count - i, (line->high - 1 - wide - x) / l->sw + 1);
}

static void run_pixels(const qdw_layer *l, const qdw_line *line, const group *f)
{
    const size_t taps = l->kh * l->kw;
    uintptr_t *tap = (uintptr_t *)((char *)l->room + taps_at(l->c));
    for (size_t i = 0; i < line->count;) {
        const run r = { tap, l->sw * line->step, line->first + i, whole(l, line, i), line->out + i * line->ldo, line->ldo };
        taps_make(l, line, i, tap);
        dw_choose(taps, f->proof->window)(ceil_div(taps, 2), l->tail, f, &r);
        i += r.count;
    }
}

void qdw_line_run(const qdw_layer *l, const qdw_line *line, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        const group *f = (const group *)l->room + i;
        dw_line_fn *fn = dw_choose_line(l, f->proof);
        if (fn)
            fn(l->tail, f, line);
        else
            run_pixels(l, line, f);
    }
}

PCX_TARGET_END
#endif
