/* qdwconv_acc16.c - see qdwconv_acc16.h. */
#include "qdwconv_acc16.h"

enum { PAIR = 128, CHUNK = 256 };

static size_t qdwconv_acc16_channel16(size_t half, size_t lane) { return 8 * half + lane / 8 * 16 + lane % 8; }
static size_t qdwconv_acc16_channel32(size_t quarter, size_t lane) { return 4 * quarter + lane / 4 * 16 + lane % 4; }

/* Bytes of a group's weights (`wide` is the larger layout) and of its start values. */
static size_t qdwconv_acc16_weight_bytes(size_t taps) { return ceil_div(taps, 2) * 4 * QDW_NC; }
static size_t qdwconv_acc16_start_bytes(size_t taps) { return ceil_div(ceil_div(taps, 2), 3) * 2 * QDW_NC; }

size_t qdwconv_acc16_bytes(size_t kh, size_t kw, size_t c)
{
    const size_t taps = kh * kw;
    return qdwconv_groups(c) *
               (sizeof(qdwconv_acc16) + qdwconv_acc16_weight_bytes(taps) + qdwconv_acc16_start_bytes(taps)) +
           taps * QDW_NC;
}

/* A group's weights [taps][32], in the order of the pairs, zero beyond c. */
typedef struct {
    const int8_t *w;
    size_t taps;
} qdwconv_view;

static int qdwconv_acc16_weight(const qdwconv_view *v, size_t i, size_t channel)
{
    return i < v->taps ? v->w[i * QDW_NC + channel] : 0;
}

static void qdwconv_acc16_put(const int8_t *w, size_t c, int8_t *to)
{
    memset(to, 0, QDW_NC);
    memcpy(to, w, min_size(c, QDW_NC));
}

static void qdwconv_acc16_view_make(size_t kh, size_t kw, size_t c, const int8_t *w, int8_t *to)
{
    size_t ky = 0;
    for (; ky + 2 <= kh; ky += 2)
        for (size_t kx = 0; kx < kw; kx++, to += 2 * QDW_NC) {
            qdwconv_acc16_put(w + (ky * kw + kx) * c, c, to);
            qdwconv_acc16_put(w + ((ky + 1) * kw + kx) * c, c, to + QDW_NC);
        }
    for (size_t kx = 0; ky < kh && kx < kw; kx++, to += QDW_NC)
        qdwconv_acc16_put(w + (ky * kw + kx) * c, c, to);
}

/* P and N of `count` taps of a channel. */
static void qdwconv_acc16_sums(const qdwconv_view *v, size_t i, size_t count, size_t channel, int *P, int *N)
{
    *P = *N = 0;
    for (size_t t = i; t < i + count; t++) {
        const int x = qdwconv_acc16_weight(v, t, channel);
        *P += x > 0 ? x : 0;
        *N -= x < 0 ? x : 0;
    }
}

static int qdwconv_acc16_holds(const qdwconv_view *v, size_t depth)
{
    for (size_t t = 0; t < v->taps; t += 2 * depth)
        for (size_t channel = 0; channel < QDW_NC; channel++) {
            int P, N;
            qdwconv_acc16_sums(v, t, 2 * depth, channel, &P, &N);
            if (depth == 1 ? P > PAIR || N > PAIR : P + N > CHUNK)
                return 0;
        }
    return 1;
}

static size_t qdwconv_acc16_deepest(const qdwconv_view *v)
{
    static const size_t depths[] = { 7, 3 };
    if (!qdwconv_acc16_holds(v, 1))
        return 0;
    for (int x = 0; x < 2; x++) /* no depth divides another, so each is checked on its own */
        if (qdwconv_acc16_holds(v, depths[x]))
            return depths[x];
    return 1;
}

static void qdwconv_acc16_fill_chunks(const qdwconv_view *v, qdwconv_acc16 *g, int8_t *w, int16_t *start)
{
    for (size_t half = 0; half < 2; half++)
        for (size_t t = 0; t < v->taps; t += 2)
            for (size_t lane = 0; lane < 16; lane++, w += 2) {
                w[0] = (int8_t)qdwconv_acc16_weight(v, t, qdwconv_acc16_channel16(half, lane));
                w[1] = (int8_t)qdwconv_acc16_weight(v, t + 1, qdwconv_acc16_channel16(half, lane));
            }
    g->single = g->depth > 1 && v->taps <= 2 * g->depth;
    for (size_t half = 0; half < 2; half++)
        for (size_t t = 0; g->depth > 1 && t < v->taps; t += 2 * g->depth)
            for (size_t lane = 0; lane < 16; lane++, start++) {
                int P, N;
                const size_t channel = qdwconv_acc16_channel16(half, lane);
                qdwconv_acc16_sums(v, t, 2 * g->depth, channel, &P, &N);
                const int twice = g->single ? 510 * N : 255 * (N - P), start_of = (twice - (twice & 1)) / 2; /* floor */
                *start = (int16_t)start_of; /* 255 N wraps, and is read back as unsigned */
                g->fix[channel] += start_of;
            }
}

static void qdwconv_acc16_fill_wide(const qdwconv_view *v, const int32_t *wzp, size_t count, int16_t *wide)
{
    for (size_t t = 0; t < v->taps; t += 2)
        for (size_t quarter = 0; quarter < 4; quarter++)
            for (size_t lane = 0; lane < 8; lane++, wide += 2)
                for (size_t b = 0; b < 2; b++) {
                    const size_t channel = qdwconv_acc16_channel32(quarter, lane);
                    const int zero = wzp && t + b < v->taps && channel < count ? wzp[channel] : 0;
                    wide[b] = (int16_t)(qdwconv_acc16_weight(v, t + b, channel) - zero);
                }
}

void qdwconv_acc16_make(size_t kh, size_t kw, size_t c, const int8_t *w, const int32_t *wzp, void *made)
{
    const size_t groups = qdwconv_groups(c), weights = qdwconv_acc16_weight_bytes(kh * kw),
                 starts = qdwconv_acc16_start_bytes(kh * kw);
    char *space = (char *)made + groups * sizeof(qdwconv_acc16);
    int8_t *sorted = (int8_t *)space + groups * (weights + starts);
    const qdwconv_view v = { sorted, kh * kw };
    for (size_t i = 0; i < groups; i++, space += weights + starts) {
        qdwconv_acc16 *g = (qdwconv_acc16 *)made + i;
        memset(g, 0, sizeof *g);
        g->first = c < QDW_NC ? 0 : min_size(i * QDW_NC, c - QDW_NC);
        g->pairs = (const int8_t *)space;
        g->wide = (const int16_t *)space;
        g->start = (const int16_t *)(space + weights);
        qdwconv_acc16_view_make(kh, kw, c, w + g->first, sorted);
        g->depth = wzp ? 0 : qdwconv_acc16_deepest(&v);
        if (g->depth)
            qdwconv_acc16_fill_chunks(&v, g, (int8_t *)space, (int16_t *)(space + weights));
        else
            qdwconv_acc16_fill_wide(&v, wzp ? wzp + g->first : NULL, min_size(c, QDW_NC), (int16_t *)space);
    }
}
