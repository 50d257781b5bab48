/*
 * qdwconv_slide.h - windows of 3 x 3 and 5 x 5 that slide along a line: each column is interleaved once for all
 * pixels whose windows contain it.  Complete sums are kept in memory, so that sums and epilogues do not compete for
 * registers.
 */
#ifndef PCX_QDWCONV_SLIDE_H
#define PCX_QDWCONV_SLIDE_H

#include "qdwconv_group.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

enum {
    DW_CHUNK = 128, /* vectors of two halves whose sums are kept in memory for their epilogue: pixels times chunks */
    DW_HELD = 5,    /* as qdwconv_hold */
    DW_AGES = 5,    /* maximum number of pixels whose windows contain one column */
};

/* Rows from column 0 and the first of the channels on, though that may lie before what there is. */
typedef struct {
    uintptr_t row[5], pad;
    size_t step, low, high;
} qdwconv_rows;

/* A line for 32 channels, chunk by chunk. */
typedef struct {
    const qdwconv_group *f;
    qdwconv_rows l;
    size_t steps, first, last;    /* steps [first, last) meet no missing column */
    __m256i state[2][2][DW_AGES]; /* [half][chunk][age]: sums of pixels that are not complete */
    __m256i sums[DW_CHUNK][2];    /* [step][chunk][half]: the pixel that became complete */
} qdwconv_sliding;

/* Column x, `off` bytes from the first, of a row. */
PCX_INLINE uintptr_t qdwconv_at(const qdwconv_rows *s, const int checked, size_t ky, size_t x, size_t off)
{
    return !checked || (x >= s->low && x < s->high) ? s->row[ky] + off : s->pad;
}

/* Two pixels byte by byte: half `from` and, if `to` is 2, both. */
PCX_INLINE void qdwconv_interleave(const int from, const int to, uintptr_t x0, uintptr_t x1, __m256i v[2])
{
    __m256i a = qdwconv_load((const void *)x0), b = qdwconv_load((const void *)x1);
    PCX_KEEP(a);
    if (to - from > 1)
        PCX_KEEP(b);
    PCX_UNROLL for (int h = from; h < to; h++)
        v[h] = h ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b);
}

/*
 * acc plus x times the pairs' weights, in int16.  Not all weights fit the registers, and loads are a bottleneck, too:
 * so this code determines what is held and what is loaded, rather than the compiler.
 */
PCX_INLINE __m256i qdwconv_held(__m256i acc, __m256i x, __m256i w)
{
    __m256i sum, t;
    PCX_ADD_PAIRS(sum, t, acc, "v", x, w, "v");
    return sum;
}

PCX_INLINE __m256i qdwconv_loaded(__m256i acc, __m256i x, const __m256i *w)
{
    __m256i sum, t;
    PCX_ADD_PAIRS(sum, t, acc, "v", x, *w, "m");
    return sum;
}

PCX_INLINE __m256i qdwconv_first(const __m256i *start, __m256i x, const __m256i *w)
{
    __m256i sum, t;
    PCX_ADD_PAIRS(sum, t, *start, "m", x, *w, "m");
    return sum;
}

/* How many pairs, from pair 1 on, are held in registers: measured. */
PCX_INLINE size_t qdwconv_hold(const size_t kh, const size_t sw) { return kh == 5 && sw == 2 ? 4 : 2; }

/*
 * One step: the sw columns from x * sw on, and what each of them adds to the pixels whose windows contain it; the pixel
 * that starts here has age 0.
 */
PCX_INLINE void qdwconv_step(const size_t kh, const size_t kw, const size_t sw, const size_t depth, const int from,
                             const int to, const int checked, const qdwconv_rows *s, size_t x, size_t off,
                             const __m256i *w, const __m256i *start, __m256i hold[2][DW_HELD],
                             __m256i acc[2][2][DW_AGES])
{
    const size_t pairs = (kh * kw + 1) / 2, chunks = (pairs + depth - 1) / depth;
    int begun[2] = { 0, 0 };
    __m256i v[2];
    PCX_UNROLL for (size_t d = 0; d < sw; d++) {
        const size_t column = x * sw + d;
        PCX_UNROLL for (size_t two = 0; two <= kh / 2; two++) {
            const int last = two == kh / 2; /* the last row: columns kx and kx + 1 */
            if (last && d % 2)
                continue;
            const uintptr_t x0 = qdwconv_at(s, checked, 2 * two, column, off + d * s->step);
            const uintptr_t x1 = last ? qdwconv_at(s, checked, 2 * two, column + 1, off + (d + 1) * s->step)
                                      : qdwconv_at(s, checked, 2 * two + 1, column, off + d * s->step);
            qdwconv_interleave(from, to, x0, x1, v);
            PCX_UNROLL for (size_t kx = d; kx < kw; kx += last && sw == 1 ? 2 : sw) {
                const size_t q = two * kw + (last ? kx / 2 : kx), i = q / depth, age = kx / sw;
                PCX_UNROLL for (int h = from; h < to; h++)
                    if (!age && !begun[i])
                        acc[h][i][age] = qdwconv_first(start + h * chunks + i, v[h], w + h * pairs + q);
                    else if (q >= 1 && q <= qdwconv_hold(kh, sw))
                        acc[h][i][age] = qdwconv_held(acc[h][i][age], v[h], hold[h][q]);
                    else
                        acc[h][i][age] = qdwconv_loaded(acc[h][i][age], v[h], w + h * pairs + q);
                begun[i] |= !age;
            }
        }
    }
}

/* Steps [begin, end) for the halves [from, to). */
PCX_INLINE void qdwconv_slide(const size_t kh, const size_t kw, const size_t sw, const size_t depth, const int from,
                              const int to, qdwconv_sliding *s, size_t begin, size_t end)
{
    const size_t pairs = (kh * kw + 1) / 2, chunks = (pairs + depth - 1) / depth, ages = (kw + sw - 1) / sw;
    const __m256i *w = (const __m256i *)s->f->acc16->pairs; /* and behind them, 4 * pairs vectors on, start */
    const qdwconv_rows l = s->l; /* a copy that no store reaches */
    const size_t step = l.step;
    size_t off = begin * sw * step;
    __m256i acc[2][2][DW_AGES];
    PCX_UNROLL for (int h = from; h < to; h++)
        PCX_UNROLL for (size_t i = 0; i < chunks; i++)
            PCX_UNROLL for (size_t age = 0; age < ages; age++)
                acc[h][i][age] = begin ? s->state[h][i][age] : _mm256_setzero_si256();
    __m256i hold[2][DW_HELD];
    PCX_UNROLL for (int h = from; h < to; h++)
        PCX_UNROLL for (size_t q = 1; q <= qdwconv_hold(kh, sw); q++)
            hold[h][q] = qdwconv_load(w + h * pairs + q);
    const size_t ends[3] = { min_size(max_size(s->first, begin), end), min_size(max_size(s->last, begin), end), end };
    size_t x = begin;
    PCX_UNROLL for (int part = 0; part < 3; part++)
        for (; x < ends[part]; x++, off += sw * step) {
            PCX_OPAQUE(w); /* otherwise every weight's address is computed in advance, and spilled */
            PCX_OPAQUE(off);
            PCX_UNROLL for (int h = from; h < to; h++)
                PCX_UNROLL for (size_t i = 0; i < chunks; i++)
                    PCX_UNROLL for (size_t age = ages - 1; age > 0; age--)
                        acc[h][i][age] = acc[h][i][age - 1];
            qdwconv_step(kh, kw, sw, depth, from, to, part != 1, &l, x, off, w, w + 4 * pairs, hold, acc);
            PCX_UNROLL for (int h = from; h < to; h++)
                PCX_UNROLL for (size_t i = 0; i < chunks; i++)
                    _mm256_store_si256(&s->sums[(x - begin) * chunks + i][h], acc[h][i][ages - 1]);
        }
    if (end == s->steps)
        return;
    PCX_UNROLL for (int h = from; h < to; h++)
        PCX_UNROLL for (size_t i = 0; i < chunks; i++)
            PCX_UNROLL for (size_t age = 0; age < ages; age++)
                s->state[h][i][age] = acc[h][i][age];
}

enum { DW_ONE_NEAR, DW_ONE, DW_TWO }; /* chunks; DW_ONE_NEAR: and f->near */

/* The int32 sums of 32 channels, from those of the chunks. */
PCX_INLINE void qdwconv_widen(const int kind, const qdwconv_group *f, __m256i sums[][2], __m256i sum[4])
{
    PCX_UNROLL for (int h = 0; h < 2; h++) {
        const __m256i a = sums[0][h], b = kind == DW_TWO ? sums[1][h] : _mm256_setzero_si256();
        sum[2 * h] = _mm256_unpacklo_epi16(a, b);
        sum[2 * h + 1] = _mm256_unpackhi_epi16(a, b);
    }
    PCX_UNROLL for (int v = 0; v < 4; v++) {
        if (kind == DW_TWO)
            sum[v] = _mm256_madd_epi16(sum[v], _mm256_set1_epi16(1));
        sum[v] = _mm256_add_epi32(sum[v], f->base[v]);
    }
}

/* The same as floats.  2^23 + u has the bits of u in its last ones, and is exact less 2^23 - base. */
PCX_INLINE void qdwconv_floats(const int kind, const qdwconv_group *f, __m256i sums[][2], __m256 v[4])
{
    __m256i sum[4];
    if (kind != DW_ONE_NEAR) {
        qdwconv_widen(kind, f, sums, sum);
        PCX_UNROLL for (int i = 0; i < 4; i++)
            v[i] = _mm256_cvtepi32_ps(sum[i]);
        return;
    }
    const __m256i high = _mm256_set1_epi16(0x4b00);
    PCX_UNROLL for (int h = 0; h < 2; h++) {
        v[2 * h] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(sums[0][h], high));
        v[2 * h + 1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(sums[0][h], high));
    }
    PCX_UNROLL for (int i = 0; i < 4; i++)
        v[i] = _mm256_sub_ps(v[i], f->less[i]);
}

/* Plain tails of `count` pixels; bare: no zero point, nothing to clamp. */
PCX_INLINE void qdwconv_plain(const int kind, const int bare, const qepilogue *t, const qdwconv_group *f,
                              __m256i sums[][2], size_t count, uint8_t *out, size_t ldo)
{
    const qepilogue_avx2_clamp clamp = qepilogue_avx2_clamp_make(&t->clamp);
    const int small = f->small, all = f->all;
    for (size_t i = 0; i < count; i++, out += ldo) {
        __m256 v[4];
        __m256i bytes;
        qdwconv_floats(kind, f, sums + (kind == DW_TWO ? 2 * i : i), v);
        PCX_UNROLL for (int x = 0; x < 4; x++)
            v[x] = _mm256_mul_ps(v[x], f->scale[x]);
        if (bare)
            bytes = _mm256_packus_epi16(_mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1])),
                                        _mm256_packs_epi32(_mm256_cvtps_epi32(v[2]), _mm256_cvtps_epi32(v[3])));
        else
            bytes = qepilogue_avx2_bytes(v, &clamp, small);
        if (PCX_LIKELY(all))
            _mm256_storeu_si256((__m256i *)out, bytes);
        else
            qdwconv_store(out, f->cols, bytes);
    }
}

PCX_INLINE void qdwconv_tails(const size_t chunks, const qepilogue *t, qdwconv_sliding *s, size_t from, size_t to,
                              size_t first, uint8_t *out, size_t ldo)
{
    const qdwconv_group *f = s->f;
    const int bare = f->small && t->clamp.zero == 0 && t->clamp.min == 0 && t->clamp.max == 255;
    if (!f->plain) {
        for (size_t i = from; i < to; i++) {
            __m256i sum[4];
            qdwconv_widen(chunks == 2 ? DW_TWO : DW_ONE, f, s->sums + i * chunks, sum);
            qdwconv_finish(t, f, first + i - from, sum, out + (i - from) * ldo);
        }
        return;
    }
    if (chunks == 2) {
        if (bare)
            qdwconv_plain(DW_TWO, 1, t, f, s->sums + from * chunks, to - from, out, ldo);
        else
            qdwconv_plain(DW_TWO, 0, t, f, s->sums + from * chunks, to - from, out, ldo);
    } else if (f->near) {
        if (bare)
            qdwconv_plain(DW_ONE_NEAR, 1, t, f, s->sums + from * chunks, to - from, out, ldo);
        else
            qdwconv_plain(DW_ONE_NEAR, 0, t, f, s->sums + from * chunks, to - from, out, ldo);
    } else {
        qdwconv_plain(DW_ONE, 0, t, f, s->sums + from * chunks, to - from, out, ldo);
    }
}

PCX_INLINE void qdwconv_slide_line(const size_t kh, const size_t kw, const size_t sw, const size_t depth,
                                   const qepilogue *t, const qdwconv_group *f, const qdwconv_line *line)
{
    const size_t ages = (kw + sw - 1) / sw, steps = line->count + ages - 1, more = sw > 1 ? sw - 1 : 1;
    const size_t chunks = ((kh * kw + 1) / 2 + depth - 1) / depth, chunk = DW_CHUNK / chunks;
    qdwconv_sliding s;
    s.f = f;
    for (size_t ky = 0; ky < kh; ky++)
        s.l.row[ky] = (uintptr_t)line->row[ky] - line->low * line->step + f->j;
    s.l.pad = (uintptr_t)(line->pad ? line->pad : line->row[0]); /* met by zero weights, too, behind the last column */
    s.l.step = line->step;
    s.l.low = line->low;
    s.l.high = line->high;
    s.first = (line->low + sw - 1) / sw;
    s.last = line->high > more ? (line->high - more - 1) / sw + 1 : 0;
    s.steps = steps;
    uint8_t *first = line->out + f->j * t->bytes, *out = first;
    for (size_t x = 0, done = 0; x < steps; x += chunk) {
        const size_t end = min_size(x + chunk, steps), from = x ? 0 : ages - 1;
        if (kh * kw <= 9) {
            qdwconv_slide(kh, kw, sw, depth, 0, 2, &s, x, end);
        } else { /* too much for 16 registers: half the channels at a time */
            qdwconv_slide(kh, kw, sw, depth, 0, 1, &s, x, end);
            qdwconv_slide(kh, kw, sw, depth, 1, 2, &s, x, end);
        }
        qdwconv_tails(chunks, t, &s, from, end - x, line->first + done, out, line->ldo);
        done += end - x - from;
        out += (end - x - from) * line->ldo;
    }
    if (f->plain && t->q.lut)
        qepilogue_avx2_lut(t->rise, first, line->count, line->ldo, 1);
}

typedef void qdwconv_line_fn(const qepilogue *t, const qdwconv_group *f, const qdwconv_line *line);

#define LINE(k, sw) \
    static PCX_NOINLINE void qdwconv_slide_line_##k##x##k##s##sw(const qepilogue *t, const qdwconv_group *f, \
                                                                   const qdwconv_line *line) \
    { \
        qdwconv_slide_line(k, k, sw, 7, t, f, line); \
    }
LINE(3, 1) LINE(3, 2) LINE(5, 1) LINE(5, 2)
#undef LINE

/* The function that slides, if there is one. */
static qdwconv_line_fn *qdwconv_choose_line(const qdwconv_layer *l, const qdwconv_acc16 *g)
{
    if (g->depth != 7 || l->kh != l->kw || l->dw != 1 || (l->sw != 1 && l->sw != 2))
        return NULL;
    if (l->kh == 3)
        return l->sw == 1 ? qdwconv_slide_line_3x3s1 : qdwconv_slide_line_3x3s2;
    return l->kh != 5 ? NULL : l->sw == 1 ? qdwconv_slide_line_5x5s1 : qdwconv_slide_line_5x5s2;
}

PCX_TARGET_END
#endif
#endif
