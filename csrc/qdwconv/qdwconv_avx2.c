/* qdwconv_avx2.c - 32 channels of one or two pixels at a time, taps in pairs: qdwproof.h. */
#include "qdwconv.h"
#include "qdwproof.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/*
 * Output pixels [first, first + count) of one line: tap t of the i-th window is at
 * base + i * step + tap[t].  An odd number of taps has one more, of weight zero.
 */
typedef struct {
    uintptr_t base, step;
    const uintptr_t *tap;
    size_t first, count;
} run;

/* The tail of 32 channels. */
typedef struct {
    const qtail *tail;
    size_t j;          /* the first of the channels */
    size_t skip, cols; /* of the 32, [skip, skip + cols) are to be written */
    uint8_t *out;      /* of pixel 0, channel j */
    size_t ldo;        /* bytes */
    int plain, spared; /* to u8 without residual, and table but with `all`; QT_SMALL ... */
    int all;           /* all 32 may be written: those skipped get the same bytes again */
    __m256i base[4];   /* where the sums start */
    __m256 scale[4];
} finish;

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
    PCX_UNROLL for (size_t q = 0; q < pairs; q++)
        PCX_UNROLL for (int i = 0; i < count; i++) {
            __m256i x0 = dw_load((const void *)(base[i] + tap[2 * q]));
            __m256i x1 = dw_load((const void *)(base[i] + tap[2 * q + 1]));
            PCX_KEEP(x0); /* loads are scarce: once each, not again as operands */
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

/* Sums of output pixel i to outputs, whatever the tail. */
static PCX_NOINLINE void dw_finish(const finish *f, size_t i, const __m256i sum[4])
{
    const qtail *t = f->tail;
    uint8_t *out = f->out + i * f->ldo, each[QDW_NC] = { 0 };
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
    __m256i bytes = qt_bytes_avx2(v, &clamp, f->spared);
    if (t->q.lut)
        bytes = qt_table_avx2(t->q.lut, bytes);
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
PCX_INLINE void dw_pixels(const int count, const size_t pairs, const size_t T, const qdwproof *g, const finish *f,
                          const qt_clamp_avx2 *clamp, const uintptr_t *tap, const uintptr_t *base, size_t i,
                          uint8_t *out)
{
    __m256i sum[2][4];
    PCX_UNROLL for (int x = 0; x < count; x++)
        PCX_UNROLL for (int v = 0; v < 4; v++)
            sum[x][v] = f->base[v];
    if (T)
        dw_windows(count, pairs, T, g, tap, base, sum);
    else
        dw_wide(count, pairs, g, tap, base, sum);
    PCX_UNROLL for (int x = 0; x < count; x++)
        if (PCX_LIKELY(f->plain)) {
            __m256 v[4];
            PCX_UNROLL for (int y = 0; y < 4; y++)
                v[y] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[x][y]), f->scale[y]);
            const __m256i bytes = qt_bytes_avx2(v, clamp, f->spared);
            if (PCX_LIKELY(f->all))
                _mm256_storeu_si256((__m256i *)(out + x * f->ldo), bytes);
            else
                dw_store(out + x * f->ldo, f->cols, bytes);
        } else {
            const __m256i each[4] = { sum[x][0], sum[x][1], sum[x][2], sum[x][3] };
            dw_finish(f, i + x, each);
        }
}

/* Two pixels at a time, so that weights are loaded once for both. */
PCX_INLINE void dw_run(const size_t pairs, const size_t T, const qdwproof *g, const finish *f, const run *r)
{
    const qt_clamp_avx2 clamp = qt_load_clamp(&f->tail->clamp);
    const uintptr_t *const tap = r->tap;
    const size_t step = r->step, ldo = f->ldo, end = r->first + r->count;
    uintptr_t base[2] = { r->base + f->j, r->base + step + f->j };
    size_t i = r->first;
    uint8_t *out = f->out + i * ldo;
    for (; i + 2 <= end; i += 2, base[0] += 2 * step, base[1] += 2 * step, out += 2 * ldo)
        dw_pixels(2, pairs, T, g, f, &clamp, tap, base, i, out);
    if (i < end)
        dw_pixels(1, pairs, T, g, f, &clamp, tap, base, i, out);
    if (f->plain && f->tail->q.lut)
        qt_lut_avx2(f->tail->q.lut, f->out + r->first * ldo, r->count, ldo, 1);
}

#define DW(name, count, T)                                                                                \
    static PCX_NOINLINE void dw_##name##_##T(size_t pairs, const qdwproof *g, const finish *f, const run *r) \
    {                                                                                                     \
        (void)pairs;                                                                                      \
        dw_run(count, T, g, f, r);                                                                        \
    }
DW(3x3, 5, 7) DW(3x3, 5, 3) DW(3x3, 5, 1) DW(3x3, 5, 0) DW(5x5, 13, 7) DW(5x5, 13, 3)
DW(any, pairs, 7) DW(any, pairs, 3) DW(any, pairs, 1) DW(any, pairs, 0)
#undef DW

typedef void dw_fn(size_t pairs, const qdwproof *g, const finish *f, const run *r);

static dw_fn *dw_choose(size_t taps, size_t window)
{
    switch (window) {
    case 7: return taps == 9 ? dw_3x3_7 : taps == 25 ? dw_5x5_7 : dw_any_7;
    case 3: return taps == 9 ? dw_3x3_3 : taps == 25 ? dw_5x5_3 : dw_any_3;
    case 1: return taps == 9 ? dw_3x3_1 : dw_any_1;
    default: return taps == 9 ? dw_3x3_0 : dw_any_0;
    }
}

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
static void finish_make(const pcx_qdwconv_args *p, const qtail *t, const qdwproof *g, size_t group, finish *f)
{
    uint32_t room[4][QDW_NC], base[QDW_NC];
    const size_t j = g->first, skip = group * QDW_NC - j, cols = min_size(QDW_NC, p->c - group * QDW_NC);
    const uint32_t *bias = all32(p->bias, j, skip + cols, room[0]), *sum = all32(p->colsum, j, skip + cols, room[1]);
    const uint32_t *wzp = all32(p->wzp, j, skip + cols, room[2]);
    const float *scale = all32(p->scale, j, skip + cols, room[3]);
    const uint32_t zero = (uint32_t)p->xzp[0], taps = (uint32_t)(p->kh * p->kw);
    for (size_t x = 0; x < QDW_NC; x++)
        base[x] = bias[x] - zero * (sum[x] - taps * wzp[x]) - (uint32_t)g->fix[x];
    *f = (finish){ .tail = t, .j = j, .skip = skip, .cols = cols, .out = (uint8_t *)p->out + j * t->bytes,
                   .ldo = p->ldo * t->bytes, .spared = qt_spared_avx2(&t->clamp, scale, QDW_NC),
                   .all = skip + cols == QDW_NC };
    f->plain = t->mode == QT_U8 && !t->q.residual && (f->all || !t->q.lut);
    for (int v = 0; v < 4; v++) {
        f->base[v] = _mm256_loadu2_m128i((const __m128i *)(base + 16 + 4 * v), (const __m128i *)(base + 4 * v));
        f->scale[v] = _mm256_loadu2_m128(scale + 16 + 4 * v, scale + 4 * v);
    }
}

/* ---- where the pixels are ---- */

/* What a thread needs, cut from its scratch. */
typedef struct {
    run *runs;         /* at most one per pixel */
    uintptr_t *inside; /* [taps + 1], for windows that padding does not meet: from their first tap on */
    uintptr_t *edges;  /* [block][taps + 1], for the others: addresses */
    uint8_t *padding;  /* 32 and more bytes of xzp */
    uint8_t *copies;   /* [block][taps][32], where c < 32 */
    void *proofs;      /* where nothing is prepared, or weights have zero points, which need not be constant */
} room;

/* The bytes of a room; with `scratch`, also the room. */
static size_t room_make(const pcx_qdwconv_args *p, char *scratch, room *r)
{
    const size_t block = qdwconv_block(p), taps = p->kh * p->kw;
    const size_t inside = round_up(block * sizeof(run), 64), edges = inside + round_up((taps + 1) * 8, 64);
    const size_t padding = edges + round_up(block * (taps + 1) * 8, 64), copies = padding + round_up(p->c, 64);
    const size_t proofs = copies + (p->c < QDW_NC ? round_up(block * taps * QDW_NC, 64) : 0);
    if (scratch)
        *r = (room){ (run *)scratch, (uintptr_t *)(scratch + inside), (uintptr_t *)(scratch + edges),
                     (uint8_t *)scratch + padding, (uint8_t *)scratch + copies, scratch + proofs };
    return proofs + (p->prepared && !p->wzp ? 0 : qdwproof_bytes(taps, p->c));
}

size_t qdwconv_avx2_scratch(const void *args) { return room_make(args, NULL, NULL); }

/* What does not depend on the block. */
static void room_fill(const pcx_qdwconv_args *p, room *r)
{
    uintptr_t *to = r->inside;
    if (!p->prepared || p->wzp)
        qdwproof_make(p->kh * p->kw, p->c, p->w, p->wzp, r->proofs);
    memset(r->padding, (uint8_t)p->xzp[0], round_up(p->c, QDW_NC));
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++)
            *to++ = (ky * p->dh * p->iw + kx * p->dw) * p->ldx;
    *to = 0;
}

/* The end of x. */
static uintptr_t image_end(const pcx_qdwconv_args *p)
{
    return (uintptr_t)p->x + (p->ldx ? (p->b * p->ih * p->iw - 1) * p->ldx + p->c : p->c);
}

/* One pixel by the addresses of its taps; with fewer than 32 channels, of copies where a load would pass the end. */
static void edge_make(const pcx_qdwconv_args *p, const qdwconv_place *at, const room *r, uintptr_t *tap,
                      uint8_t *copies)
{
    const uintptr_t end = image_end(p);
    uintptr_t *to = tap;
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++, to++, copies += QDW_NC) {
            const uint8_t *x = qdwconv_tap(p, at, ky, kx);
            *to = (uintptr_t)(x ? x : r->padding);
            if (x && p->c < QDW_NC && (uintptr_t)x + QDW_NC > end) {
                memset(copies, 0, QDW_NC);
                memcpy(copies, x, p->c);
                *to = (uintptr_t)copies;
            }
        }
    *to = tap[0];
}

/* How many of `count` pixels from `at` on have their whole windows inside the image, and loads, too. */
static size_t inside(const pcx_qdwconv_args *p, const qdwconv_place *at, const room *r, uintptr_t base, size_t count)
{
    const size_t taps = p->kh * p->kw, tall = (p->kh - 1) * p->dh, wide = (p->kw - 1) * p->dw;
    if (at->y >= p->ih || at->x >= p->iw || at->y + tall >= p->ih || at->x + wide >= p->iw)
        return 0;
    count = min_size(count, (p->iw - 1 - wide - at->x) / p->sw + 1);
    const uintptr_t last = base + r->inside[taps - 1] + QDW_NC, end = image_end(p);
    while (p->c < QDW_NC && count && last + (count - 1) * p->sw * p->ldx > end)
        count--;
    return count;
}

/* The block's pixels as runs; how many there are. */
static size_t runs_make(const pcx_qdwconv_args *p, size_t first, size_t count, const room *r)
{
    const size_t taps = p->kh * p->kw;
    size_t runs = 0;
    for (size_t i = 0; i < count;) {
        qdwconv_place at = qdwconv_at(p, first + i);
        const size_t line = min_size(count - i, p->ow - (first + i) % p->ow);
        for (size_t x = 0; x < line; runs++) {
            const uintptr_t base = (uintptr_t)p->x + ((at.image * p->ih + at.y) * p->iw + at.x) * p->ldx;
            run *to = &r->runs[runs];
            *to = (run){ base, p->sw * p->ldx, r->inside, first + i + x, inside(p, &at, r, base, line - x) };
            if (!to->count) {
                uintptr_t *tap = r->edges + (i + x) * (taps + 1);
                edge_make(p, &at, r, tap, r->copies + (i + x) * taps * QDW_NC);
                *to = (run){ 0, 0, tap, first + i + x, 1 };
            }
            x += to->count;
            at.x += to->count * p->sw;
        }
        i += line;
    }
    return runs;
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
    room_fill(p, &r);
    const qdwproof *proofs = p->prepared && !p->wzp ? p->prepared : r.proofs;
    const size_t bottom = min_size(end * QDWCONV_UNIT, qdwconv_pixels(p));
    for (size_t first = begin * QDWCONV_UNIT; first < bottom; first += block) {
        const size_t runs = runs_make(p, first, min_size(block, bottom - first), &r);
        for (size_t i = 0; i < groups; i++) {
            const qdwproof *g = proofs + i;
            dw_fn *fn = dw_choose(taps, g->window);
            finish f;
            finish_make(p, &tail, g, i, &f);
            for (size_t x = 0; x < runs; x++)
                fn(ceil_div(taps, 2), g, &f, &r.runs[x]);
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
    qdwproof_make(p->kh * p->kw, p->c, p->w, NULL, prepared); /* of the weights alone: all that is sure to be constant */
}

PCX_TARGET_END
#endif
