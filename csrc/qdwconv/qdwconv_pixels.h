/* qdwconv_pixels.h - any kernel size, with any accumulation depth, pixel by pixel. */
#ifndef PCX_QDWCONV_PIXELS_H
#define PCX_QDWCONV_PIXELS_H

#include "qdwconv_group.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* Pixels [first, first + count): tap t of the i-th is at tap[t] + i * step. */
typedef struct {
    const uintptr_t *tap; /* in pairs; an odd number of them has one more, of weight zero */
    size_t step, first, count;
    uint8_t *out;
    size_t ldo;
} qdwconv_pixel_run;

/* acc, the two halves of 16 channels of each pixel, plus the products of pair q. */
PCX_INLINE void qdwconv_pair(const int count, const size_t pairs, const qdwconv_acc16 *g, size_t q,
                             const uintptr_t *tap, const uintptr_t *base, __m256i acc[][2])
{
    const __m256i w0 = qdwconv_load(g->pairs + q * 32), w1 = qdwconv_load(g->pairs + (pairs + q) * 32);
    PCX_UNROLL for (int i = 0; i < count; i++) {
        __m256i x0 = qdwconv_load((const void *)(base[i] + tap[2 * q]));
        __m256i x1 = qdwconv_load((const void *)(base[i] + tap[2 * q + 1]));
        PCX_KEEP(x0); /* loads are the bottleneck: load each once, not again as an operand */
        PCX_KEEP(x1);
        acc[i][0] = _mm256_add_epi16(acc[i][0], _mm256_maddubs_epi16(_mm256_unpacklo_epi8(x0, x1), w0));
        acc[i][1] = _mm256_add_epi16(acc[i][1], _mm256_maddubs_epi16(_mm256_unpackhi_epi8(x0, x1), w1));
        PCX_KEEP(acc[i][0]); /* otherwise GCC reassociates the sums and spills */
        PCX_KEEP(acc[i][1]);
    }
}

/* One chunk: pairs [from, to).  any, here and below: `pairs` is not a constant, so loops over them stay loops. */
PCX_INLINE void qdwconv_chunk(const int count, const int any, const size_t pairs, const size_t depth,
                              const qdwconv_acc16 *g, size_t from, size_t to, const uintptr_t *tap,
                              const uintptr_t *base, __m256i acc[][2])
{
    PCX_UNROLL for (int i = 0; i < count; i++)
        PCX_UNROLL for (size_t h = 0; h < 2; h++)
        acc[i][h] = depth > 1 && from < to ? qdwconv_load(g->start + (h * ceil_div(pairs, depth) + from / depth) * 16)
                                           : _mm256_setzero_si256();
    if (any)
        for (size_t q = from; q < to; q++)
            qdwconv_pair(count, pairs, g, q, tap, base, acc);
    else
        PCX_UNROLL for (size_t q = from; q < to; q++)
            qdwconv_pair(count, pairs, g, q, tap, base, acc);
}

/* Two chunks from pair `from` on: vpmaddwd adds the two while it widens them. */
PCX_INLINE void qdwconv_two_chunks(const int count, const int any, const size_t pairs, const size_t depth,
                                   const qdwconv_acc16 *g, size_t from, const uintptr_t *tap, const uintptr_t *base,
                                   __m256i sum[][4])
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i a[2][2], b[2][2];
    const size_t middle = min_size(from + depth, pairs), to = min_size(middle + depth, pairs);
    qdwconv_chunk(count, any, pairs, depth, g, from, middle, tap, base, a);
    qdwconv_chunk(count, any, pairs, depth, g, middle, to, tap, base, b);
    PCX_UNROLL for (int i = 0; i < count; i++)
        PCX_UNROLL for (int h = 0; h < 2; h++) {
            __m256i low = _mm256_unpacklo_epi16(a[i][h], b[i][h]);
            __m256i high = _mm256_unpackhi_epi16(a[i][h], b[i][h]);
            if (depth == 1 || pairs > depth) { /* else unsigned, and b is zero */
                low = _mm256_madd_epi16(low, ones);
                high = _mm256_madd_epi16(high, ones);
            }
            sum[i][2 * h] = _mm256_add_epi32(sum[i][2 * h], low);
            sum[i][2 * h + 1] = _mm256_add_epi32(sum[i][2 * h + 1], high);
        }
}

/* All chunks. */
PCX_INLINE void qdwconv_chunks(const int count, const int any, const size_t pairs, const size_t depth,
                               const qdwconv_acc16 *g, const uintptr_t *tap, const uintptr_t *base, __m256i sum[][4])
{
    if (any)
        for (size_t from = 0; from < pairs; from += 2 * depth)
            qdwconv_two_chunks(count, any, pairs, depth, g, from, tap, base, sum);
    else
        PCX_UNROLL for (size_t from = 0; from < pairs; from += 2 * depth)
            qdwconv_two_chunks(count, any, pairs, depth, g, from, tap, base, sum);
}

/* No int16 accumulation: products of int16, summed in int32. */
PCX_INLINE void qdwconv_wide_pair(const int count, const qdwconv_acc16 *g, size_t q, const uintptr_t *tap,
                                  const uintptr_t *base, __m256i sum[][4])
{
    const __m256i zero = _mm256_setzero_si256();
    PCX_UNROLL for (int i = 0; i < count; i++) {
        __m256i x0 = qdwconv_load((const void *)(base[i] + tap[2 * q]));
        __m256i x1 = qdwconv_load((const void *)(base[i] + tap[2 * q + 1]));
        PCX_KEEP(x0);
        PCX_KEEP(x1);
        const __m256i both[2] = { _mm256_unpacklo_epi8(x0, x1), _mm256_unpackhi_epi8(x0, x1) };
        PCX_UNROLL for (int v = 0; v < 4; v++) {
            const __m256i x = v % 2 ? _mm256_unpackhi_epi8(both[v / 2], zero) : _mm256_unpacklo_epi8(both[v / 2], zero);
            sum[i][v] = _mm256_add_epi32(sum[i][v], _mm256_madd_epi16(x, qdwconv_load(g->wide + q * 64 + 16 * v)));
            PCX_KEEP(sum[i][v]);
        }
    }
}

PCX_INLINE void qdwconv_wide(const int count, const int any, const size_t pairs, const qdwconv_acc16 *g,
                             const uintptr_t *tap, const uintptr_t *base, __m256i sum[][4])
{
    if (any)
        for (size_t q = 0; q < pairs; q++)
            qdwconv_wide_pair(count, g, q, tap, base, sum);
    else
        PCX_UNROLL for (size_t q = 0; q < pairs; q++)
            qdwconv_wide_pair(count, g, q, tap, base, sum);
}

/* `count` pixels from base[0] on. */
PCX_INLINE void qdwconv_pixels(const int count, const int any, const size_t pairs, const size_t depth,
                               const qepilogue *t, const qdwconv_group *f, const qepilogue_avx2_clamp *clamp,
                               const qdwconv_pixel_run *r, const uintptr_t *base, size_t i, uint8_t *out)
{
    __m256i sum[2][4];
    PCX_UNROLL for (int x = 0; x < count; x++)
        PCX_UNROLL for (int v = 0; v < 4; v++)
            sum[x][v] = f->base[v];
    if (depth)
        qdwconv_chunks(count, any, pairs, depth, f->acc16, r->tap, base, sum);
    else
        qdwconv_wide(count, any, pairs, f->acc16, r->tap, base, sum);
    PCX_UNROLL for (int x = 0; x < count; x++)
        if (PCX_LIKELY(f->plain)) {
            __m256 v[4];
            PCX_UNROLL for (int y = 0; y < 4; y++)
                v[y] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[x][y]), f->scale[y]);
            const __m256i bytes = qepilogue_avx2_bytes(v, clamp, f->small);
            if (PCX_LIKELY(f->all))
                _mm256_storeu_si256((__m256i *)(out + x * r->ldo), bytes);
            else
                qdwconv_store(out + x * r->ldo, f->cols, bytes);
        } else {
            const __m256i each[4] = { sum[x][0], sum[x][1], sum[x][2], sum[x][3] };
            qdwconv_finish(t, f, i + x, each, out + x * r->ldo);
        }
}

/* Two pixels at a time, so that weights are loaded once for both. */
PCX_INLINE void qdwconv_run(const int any, const size_t pairs, const size_t depth, const qepilogue *t,
                            const qdwconv_group *f, const qdwconv_pixel_run *r)
{
    const qepilogue_avx2_clamp clamp = qepilogue_avx2_clamp_make(&t->clamp);
    const size_t step = r->step, ldo = r->ldo, end = r->first + r->count;
    uintptr_t base[2] = { f->j, step + f->j };
    size_t i = r->first;
    uint8_t *first = r->out + f->j * t->bytes, *out = first;
    for (; i + 2 <= end; i += 2, base[0] += 2 * step, base[1] += 2 * step, out += 2 * ldo)
        qdwconv_pixels(2, any, pairs, depth, t, f, &clamp, r, base, i, out);
    if (i < end)
        qdwconv_pixels(1, any, pairs, depth, t, f, &clamp, r, base, i, out);
    if (f->plain && t->q.lut)
        qepilogue_avx2_lut(t->rise, first, r->count, ldo, 1);
}

typedef void qdwconv_fn(size_t pairs, const qepilogue *t, const qdwconv_group *f, const qdwconv_pixel_run *r);

#define DW(name, any, count, depth) \
    static PCX_NOINLINE void qdwconv_##name##_##depth(size_t pairs, const qepilogue *t, const qdwconv_group *f, \
                                                         const qdwconv_pixel_run *r) \
    { \
        (void)pairs; \
        qdwconv_run(any, count, depth, t, f, r); \
    }
DW(3x3, 0, 5, 7) DW(3x3, 0, 5, 3) DW(3x3, 0, 5, 1) DW(3x3, 0, 5, 0) DW(5x5, 0, 13, 7) DW(5x5, 0, 13, 3)
DW(any, 1, pairs, 7) DW(any, 1, pairs, 3) DW(any, 1, pairs, 1) DW(any, 1, pairs, 0)
#undef DW

static qdwconv_fn *qdwconv_choose(size_t taps, size_t depth)
{
    switch (depth) {
    case 7: return taps == 9 ? qdwconv_3x3_7 : taps == 25 ? qdwconv_5x5_7 : qdwconv_any_7;
    case 3: return taps == 9 ? qdwconv_3x3_3 : taps == 25 ? qdwconv_5x5_3 : qdwconv_any_3;
    case 1: return taps == 9 ? qdwconv_3x3_1 : qdwconv_any_1;
    default: return taps == 9 ? qdwconv_3x3_0 : qdwconv_any_0;
    }
}

/* The addresses of the taps of pixel i, in the order of the pairs. */
static void qdwconv_taps(const qdwconv_layer *l, const qdwconv_line *line, size_t i, uintptr_t *tap)
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
static size_t qdwconv_whole(const qdwconv_layer *l, const qdwconv_line *line, size_t i)
{
    const size_t x = i * l->sw, wide = (l->kw - 1) * l->dw;
    if (x < line->low || x + wide >= line->high)
        return 1;
    return min_size(line->count - i, (line->high - 1 - wide - x) / l->sw + 1);
}

static void qdwconv_run_pixels(const qdwconv_layer *l, const qdwconv_line *line, const qdwconv_group *f)
{
    const size_t taps = l->kh * l->kw;
    uintptr_t *tap = (uintptr_t *)((char *)l->scratch + qdwconv_taps_at(l->c));
    for (size_t i = 0; i < line->count;) {
        const qdwconv_pixel_run r = { tap, l->sw * line->step, line->first + i, qdwconv_whole(l, line, i),
                                 line->out + i * line->ldo, line->ldo };
        qdwconv_taps(l, line, i, tap);
        qdwconv_choose(taps, f->acc16->depth)(ceil_div(taps, 2), l->tail, f, &r);
        i += r.count;
    }
}

PCX_TARGET_END
#endif
#endif
