/* qdwconv_avx2.c - 32 channels of one or two pixels at a time, taps in pairs: qdwproof.h. */
#include "qdwconv.h"
#include "qdwproof.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* An output pixel: tap t of its window is at base + tap[t]; an odd number of taps has one more, of weight zero. */
typedef struct {
    uintptr_t base;
    const uintptr_t *tap;
} pixel;

/* A block of pixels and one group of channels. */
typedef struct {
    const pcx_qdwconv_args *p;
    const qtail *tail;
    const pixel *pixels;
    size_t first, count; /* output pixels [first, first + count) */
    const uintptr_t *inside; /* `tap` of pixels that padding does not meet */
    const qdwproof *g;
    size_t skip, cols; /* of the group's 32 channels, [skip, skip + cols) are to be written */
    __m256i base[4];   /* where the sums start */
    __m256 scale[4];
} job;

PCX_INLINE __m256i dw_load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }

/* One window: pairs [from, to) of a pixel and its two halves of 16 channels. */
PCX_INLINE void dw_window(const int count, const size_t T, const qdwproof *g, size_t from, size_t to,
                          const uintptr_t *tap, const uintptr_t *base, __m256i acc[][2])
{
    PCX_UNROLL for (int i = 0; i < count; i++)
        PCX_UNROLL for (int h = 0; h < 2; h++)
            acc[i][h] = T > 1 && from < to ? dw_load(g->start + from / T * QDW_NC + 16 * h) : _mm256_setzero_si256();
    PCX_UNROLL for (size_t q = from; q < to; q++) {
        const __m256i w0 = dw_load(g->pairs + q * 64), w1 = dw_load(g->pairs + q * 64 + 32);
        PCX_UNROLL for (int i = 0; i < count; i++) {
            const __m256i x0 = dw_load((const void *)(base[i] + tap[2 * q]));
            const __m256i x1 = dw_load((const void *)(base[i] + tap[2 * q + 1]));
            acc[i][0] = _mm256_add_epi16(acc[i][0], _mm256_maddubs_epi16(_mm256_unpacklo_epi8(x0, x1), w0));
            acc[i][1] = _mm256_add_epi16(acc[i][1], _mm256_maddubs_epi16(_mm256_unpackhi_epi8(x0, x1), w1));
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
        dw_window(count, T, g, from, middle, tap, base, a);
        dw_window(count, T, g, middle, to, tap, base, b);
        PCX_UNROLL for (int i = 0; i < count; i++)
            PCX_UNROLL for (int h = 0; h < 2; h++) {
                const __m256i low = _mm256_unpacklo_epi16(a[i][h], b[i][h]);
                const __m256i high = _mm256_unpackhi_epi16(a[i][h], b[i][h]);
                sum[i][2 * h] = _mm256_add_epi32(sum[i][2 * h], _mm256_madd_epi16(low, ones));
                sum[i][2 * h + 1] = _mm256_add_epi32(sum[i][2 * h + 1], _mm256_madd_epi16(high, ones));
            }
    }
}

/* Nothing proven: products of int16. */
PCX_INLINE void dw_wide(const int count, const size_t pairs, const qdwproof *g, const uintptr_t *tap,
                        const uintptr_t *base, __m256i sum[][4])
{
    const __m256i zero = _mm256_setzero_si256();
    for (size_t q = 0; q < pairs; q++)
        PCX_UNROLL for (int i = 0; i < count; i++) {
            const __m256i x0 = dw_load((const void *)(base[i] + tap[2 * q]));
            const __m256i x1 = dw_load((const void *)(base[i] + tap[2 * q + 1]));
            const __m256i both[2] = { _mm256_unpacklo_epi8(x0, x1), _mm256_unpackhi_epi8(x0, x1) };
            PCX_UNROLL for (int v = 0; v < 4; v++) {
                const __m256i x = v % 2 ? _mm256_unpackhi_epi8(both[v / 2], zero)
                                        : _mm256_unpacklo_epi8(both[v / 2], zero);
                sum[i][v] = _mm256_add_epi32(sum[i][v], _mm256_madd_epi16(x, dw_load(g->wide + q * 64 + 16 * v)));
            }
        }
}

/* Sums to outputs, for output pixel i. */
PCX_INLINE void dw_finish(const job *b, size_t i, const __m256i sum[4])
{
    const pcx_qdwconv_args *p = b->p;
    const qtail *t = b->tail;
    const size_t j = b->g->first;
    uint8_t *out = (uint8_t *)p->out + (i * p->ldo + j) * t->bytes;
    if (t->mode != QT_U8) {
        int32_t each[QDW_NC];
        for (int v = 0; v < 4; v++) {
            _mm_storeu_si128((__m128i *)(each + 4 * v), _mm256_castsi256_si128(sum[v]));
            _mm_storeu_si128((__m128i *)(each + 16 + 4 * v), _mm256_extracti128_si256(sum[v], 1));
        }
        qtail_row(t, i, j + b->skip, b->cols, each + b->skip, out + b->skip * t->bytes);
        return;
    }
    __m256 v[4];
    PCX_UNROLL for (int x = 0; x < 4; x++)
        v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[x]), b->scale[x]);
    __m256i bytes = qt_bytes_avx2(v, &t->clamp);
    if (t->q.lut)
        bytes = qt_lut_avx2(t->q.lut, bytes);
    if (t->q.residual) {
        uint8_t r[QDW_NC] = { 0 };
        memcpy(r, t->q.residual + i * t->q.ldr + j, b->skip + b->cols);
        bytes = qt_residual_avx2(t, bytes, _mm_loadu_si128((__m128i *)r), _mm_loadu_si128((__m128i *)(r + 16)));
    }
    if (PCX_LIKELY(b->cols == QDW_NC)) {
        _mm256_storeu_si256((__m256i *)out, bytes);
    } else {
        uint8_t each[QDW_NC];
        _mm256_storeu_si256((__m256i *)each, bytes);
        memcpy(out + b->skip, each + b->skip, b->cols);
    }
}

PCX_INLINE void dw_pixels(const int count, const size_t pairs, const size_t T, const job *b, size_t x)
{
    __m256i sum[2][4];
    uintptr_t base[2];
    PCX_UNROLL for (int i = 0; i < count; i++) {
        base[i] = b->pixels[x + i].base + b->g->first;
        PCX_UNROLL for (int v = 0; v < 4; v++)
            sum[i][v] = b->base[v];
    }
    if (T)
        dw_windows(count, pairs, T, b->g, b->pixels[x].tap, base, sum);
    else
        dw_wide(count, pairs, b->g, b->pixels[x].tap, base, sum);
    PCX_UNROLL for (int i = 0; i < count; i++)
        dw_finish(b, b->first + x + i, sum[i]);
}

/* Two pixels at a time where their taps are equally far apart: the weights are loaded once for both. */
PCX_INLINE void dw_block(const size_t pairs, const size_t T, const job *b)
{
    for (size_t x = 0; x < b->count;)
        if (x + 1 < b->count && b->pixels[x].tap == b->inside && b->pixels[x + 1].tap == b->inside) {
            dw_pixels(2, pairs, T, b, x);
            x += 2;
        } else {
            dw_pixels(1, pairs, T, b, x);
            x += 1;
        }
}

#define DW(name, pairs, T) \
    static PCX_NOINLINE void dw_##name##_##T(const job *b) { dw_block(pairs, T, b); }
DW(3x3, 5, 7) DW(3x3, 5, 3) DW(3x3, 5, 1) DW(5x5, 13, 7) DW(5x5, 13, 3)
DW(any, ceil_div(b->p->kh * b->p->kw, 2), 7) DW(any, ceil_div(b->p->kh * b->p->kw, 2), 3)
DW(any, ceil_div(b->p->kh * b->p->kw, 2), 1) DW(any, ceil_div(b->p->kh * b->p->kw, 2), 0)
#undef DW

static void dw_group(const job *b)
{
    const size_t taps = b->p->kh * b->p->kw;
    switch (b->g->window) {
    case 7: (taps == 9 ? dw_3x3_7 : taps == 25 ? dw_5x5_7 : dw_any_7)(b); return;
    case 3: (taps == 9 ? dw_3x3_3 : taps == 25 ? dw_5x5_3 : dw_any_3)(b); return;
    case 1: (taps == 9 ? dw_3x3_1 : dw_any_1)(b); return;
    default: dw_any_0(b);
    }
}

/* What every pixel of the group has in common: acc = sum a w - azp colsum + bias; windows start off by `fix`. */
static void job_columns(job *b)
{
    const pcx_qdwconv_args *p = b->p;
    uint32_t base[QDW_NC] = { 0 };
    float scale[QDW_NC] = { 0 };
    const size_t j = b->g->first, count = b->skip + b->cols, taps = p->kh * p->kw;
    for (size_t x = 0; x < count; x++) {
        const uint32_t sum = (uint32_t)p->colsum[j + x] - (p->wzp ? (uint32_t)taps * (uint32_t)p->wzp[j + x] : 0);
        base[x] = (p->bias ? (uint32_t)p->bias[j + x] : 0) - (uint32_t)p->xzp[0] * sum - (uint32_t)b->g->fix[x];
    }
    if (p->scale)
        memcpy(scale, p->scale + j, count * sizeof *scale);
    for (int v = 0; v < 4; v++) {
        b->base[v] = _mm256_loadu2_m128i((const __m128i *)(base + 16 + 4 * v), (const __m128i *)(base + 4 * v));
        b->scale[v] = _mm256_loadu2_m128(scale + 16 + 4 * v, scale + 4 * v);
    }
}

/* ---- where the pixels are ---- */

/* What a thread needs, cut from its scratch. */
typedef struct {
    pixel *pixels;
    uintptr_t *inside; /* [taps + 1] */
    uintptr_t *edges;  /* [block][taps + 1], for pixels with a table of their own */
    uint8_t *padding;  /* 32 and more bytes of xzp */
    uint8_t *copies;   /* [block][taps][32], where c < 32 */
    void *proofs;      /* where nothing is prepared */
} room;

/* The bytes of a room; with `scratch`, also the room. */
static size_t room_make(const pcx_qdwconv_args *p, char *scratch, room *r)
{
    const size_t block = qdwconv_block(p), taps = p->kh * p->kw;
    const size_t inside = round_up(block * sizeof(pixel), 64), edges = inside + round_up((taps + 1) * 8, 64);
    const size_t padding = edges + round_up(block * (taps + 1) * 8, 64), copies = padding + round_up(p->c, 64);
    const size_t proofs = copies + (p->c < QDW_NC ? round_up(block * taps * QDW_NC, 64) : 0);
    if (scratch)
        *r = (room){ (pixel *)scratch, (uintptr_t *)(scratch + inside), (uintptr_t *)(scratch + edges),
                     (uint8_t *)scratch + padding, (uint8_t *)scratch + copies, scratch + proofs };
    return proofs + (p->prepared ? 0 : qdwproof_bytes(taps, p->c));
}

size_t qdwconv_avx2_scratch(const void *args) { return room_make(args, NULL, NULL); }

/* Absolute addresses of a window's taps; with fewer than 32 channels, copies where a load would pass the end of x. */
static void edge_make(const pcx_qdwconv_args *p, const qdwconv_place *at, const room *r, uintptr_t end,
                      uintptr_t *tap, uint8_t *copies)
{
    uintptr_t *to = tap;
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++, to++) {
            const uint8_t *x = qdwconv_tap(p, at, ky, kx);
            *to = (uintptr_t)(x ? x : r->padding);
            if (x && p->c < QDW_NC && (uintptr_t)x + QDW_NC > end) {
                uint8_t *copy = copies + (size_t)(to - tap) * QDW_NC;
                memset(copy, 0, QDW_NC);
                memcpy(copy, x, p->c);
                *to = (uintptr_t)copy;
            }
        }
    *to = tap[0];
}

static void pixels_make(const pcx_qdwconv_args *p, size_t first, size_t count, const room *r)
{
    const size_t taps = p->kh * p->kw, tall = (p->kh - 1) * p->dh, wide = (p->kw - 1) * p->dw;
    const uintptr_t x = (uintptr_t)p->x, end = x + (p->ldx ? (p->b * p->ih * p->iw - 1) * p->ldx + p->c : p->c);
    for (size_t i = 0; i < count; i++) {
        const qdwconv_place at = qdwconv_at(p, first + i);
        const uintptr_t base = x + ((at.image * p->ih + at.y) * p->iw + at.x) * p->ldx;
        const int inside = at.y < p->ih && at.x < p->iw && at.y + tall < p->ih && at.x + wide < p->iw;
        if (inside && (p->c >= QDW_NC || base + r->inside[taps - 1] + QDW_NC <= end)) {
            r->pixels[i] = (pixel){ base, r->inside };
        } else {
            uintptr_t *tap = r->edges + i * (taps + 1);
            edge_make(p, &at, r, end, tap, r->copies + i * taps * QDW_NC);
            r->pixels[i] = (pixel){ 0, tap };
        }
    }
}

/* Zero points of weights that keep w - wzp in int16 with room; any others only a hostile plan has. */
static int usual(const pcx_qdwconv_args *p)
{
    int ok = 1;
    for (size_t j = 0; p->wzp && j < p->c; j++)
        ok &= p->wzp[j] >= -128 && p->wzp[j] <= 127;
    return ok;
}

void qdwconv_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qdwconv_args *p = args;
    const size_t taps = p->kh * p->kw, block = qdwconv_block(p), groups = qdw_groups(p->c);
    const pcx_qepilogue q = qdwconv_tail(p);
    const qtail tail = qtail_make(&q, p->ot);
    room r = { 0 };
    if (begin >= end)
        return;
    if (!usual(p)) {
        qdwconv_scalar(args, begin, end, scratch);
        return;
    }
    room_make(p, scratch, &r);
    if (!p->prepared)
        qdwproof_make(taps, p->c, p->w, p->wzp, r.proofs);
    memset(r.padding, (uint8_t)p->xzp[0], round_up(p->c, QDW_NC));
    for (size_t t = 0; t < taps; t++)
        r.inside[t] = (t / p->kw * p->dh * p->iw + t % p->kw * p->dw) * p->ldx;
    r.inside[taps] = 0;
    for (size_t u = begin; u < end; u++) {
        job b = { .p = p, .tail = &tail, .pixels = r.pixels, .first = u * block, .inside = r.inside };
        b.count = min_size(block, qdwconv_pixels(p) - b.first);
        pixels_make(p, b.first, b.count, &r);
        for (size_t i = 0; i < groups; i++) {
            b.g = (const qdwproof *)(p->prepared ? p->prepared : r.proofs) + i;
            b.skip = i * QDW_NC - b.g->first;
            b.cols = min_size(QDW_NC, p->c - i * QDW_NC);
            job_columns(&b);
            dw_group(&b);
        }
    }
}

size_t qdwconv_prepared(const void *args)
{
    const pcx_qdwconv_args *p = args;
    return qdwproof_bytes(p->kh * p->kw, p->c);
}

void qdwconv_prepare(const void *args, void *prepared)
{
    const pcx_qdwconv_args *p = args;
    qdwproof_make(p->kh * p->kw, p->c, p->w, p->wzp, prepared);
}

PCX_TARGET_END
#endif
