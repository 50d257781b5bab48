/* qdwconv_pixels.h - any kernel, with any proof, pixel by pixel. */
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
} dw_pixel_run;

/* One window: pairs [from, to) of a pixel and its two halves of 16 channels. */
PCX_INLINE void dw_window(const int count, const size_t pairs, const size_t T, const qdwconv_acc16 *g, size_t from,
                          size_t to, const uintptr_t *tap, const uintptr_t *base, __m256i acc[][2])
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
PCX_INLINE void dw_windows(const int count, const size_t pairs, const size_t T, const qdwconv_acc16 *g,
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
PCX_INLINE void dw_wide(const int count, const size_t pairs, const qdwconv_acc16 *g, const uintptr_t *tap,
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

/* `count` pixels from base[0] on. */
PCX_INLINE void dw_pixels(const int count, const size_t pairs, const size_t T, const qtail *t, const dw_group *f,
                          const qt_clamp_avx2 *clamp, const dw_pixel_run *r, const uintptr_t *base, size_t i,
                          uint8_t *out)
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
PCX_INLINE void dw_run(const size_t pairs, const size_t T, const qtail *t, const dw_group *f, const dw_pixel_run *r)
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

typedef void dw_fn(size_t pairs, const qtail *t, const dw_group *f, const dw_pixel_run *r);

#define DW(name, count, T)                                                                                           \
    static PCX_NOINLINE void dw_##name##_##T(size_t pairs, const qtail *t, const dw_group *f, const dw_pixel_run *r) \
    {                                                                                                                \
        (void)pairs;                                                                                                 \
        dw_run(count, T, t, f, r);                                                                                   \
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

/* The addresses of the taps of pixel i, in the order of the pairs. */
static void dw_taps(const qdw_layer *l, const qdw_line *line, size_t i, uintptr_t *tap)
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
static size_t dw_whole(const qdw_layer *l, const qdw_line *line, size_t i)
{
    const size_t x = i * l->sw, wide = (l->kw - 1) * l->dw;
    if (x < line->low || x + wide >= line->high)
        return 1;
    return min_size(line->count - i, (line->high - 1 - wide - x) / l->sw + 1);
}

static void dw_run_pixels(const qdw_layer *l, const qdw_line *line, const dw_group *f)
{
    const size_t taps = l->kh * l->kw;
    uintptr_t *tap = (uintptr_t *)((char *)l->scratch + dw_taps_at(l->c));
    for (size_t i = 0; i < line->count;) {
        const dw_pixel_run r = { tap, l->sw * line->step, line->first + i, dw_whole(l, line, i),
                                 line->out + i * line->ldo, line->ldo };
        dw_taps(l, line, i, tap);
        dw_choose(taps, f->proof->window)(ceil_div(taps, 2), l->tail, f, &r);
        i += r.count;
    }
}

PCX_TARGET_END
#endif
#endif
