/* qdwconv_acc16.c - see qdwconv_acc16.h. */
#include "qdwconv_acc16.h"

enum { PAIR = 128, WINDOW = 256 };

static size_t channel16(size_t half, size_t lane) { return 8 * half + lane / 8 * 16 + lane % 8; }
static size_t channel32(size_t quarter, size_t lane) { return 4 * quarter + lane / 4 * 16 + lane % 4; }

/* Bytes of a group's weights, wide being the larger form, and of its starts. */
static size_t weight_bytes(size_t taps) { return ceil_div(taps, 2) * 4 * QDW_NC; }
static size_t start_bytes(size_t taps) { return ceil_div(ceil_div(taps, 2), 3) * 2 * QDW_NC; }

size_t qdwconv_acc16_bytes(size_t kh, size_t kw, size_t c)
{
    const size_t taps = kh * kw;
    return qdw_groups(c) * (sizeof(qdwconv_acc16) + weight_bytes(taps) + start_bytes(taps)) + taps * QDW_NC;
}

/* A group's weights [taps][32], in the order of the pairs, zero beyond c. */
typedef struct {
    const int8_t *w;
    size_t taps;
} view;

static int weight(const view *v, size_t i, size_t channel) { return i < v->taps ? v->w[i * QDW_NC + channel] : 0; }

static void put(const int8_t *w, size_t c, int8_t *to)
{
    memset(to, 0, QDW_NC);
    memcpy(to, w, min_size(c, QDW_NC));
}

static void view_make(size_t kh, size_t kw, size_t c, const int8_t *w, int8_t *to)
{
    size_t ky = 0;
    for (; ky + 2 <= kh; ky += 2)
        for (size_t kx = 0; kx < kw; kx++, to += 2 * QDW_NC) {
            put(w + (ky * kw + kx) * c, c, to);
            put(w + ((ky + 1) * kw + kx) * c, c, to + QDW_NC);
        }
    for (size_t kx = 0; ky < kh && kx < kw; kx++, to += QDW_NC)
        put(w + (ky * kw + kx) * c, c, to);
}

/* P and N of `count` taps of a channel. */
static void sums(const view *v, size_t i, size_t count, size_t channel, int *P, int *N)
{
    *P = *N = 0;
    for (size_t t = i; t < i + count; t++) {
        const int x = weight(v, t, channel);
        *P += x > 0 ? x : 0;
        *N -= x < 0 ? x : 0;
    }
}

static int holds(const view *v, size_t window)
{
    for (size_t t = 0; t < v->taps; t += 2 * window)
        for (size_t channel = 0; channel < QDW_NC; channel++) {
            int P, N;
            sums(v, t, 2 * window, channel, &P, &N);
            if (window == 1 ? P > PAIR || N > PAIR : P + N > WINDOW)
                return 0;
        }
    return 1;
}

static size_t widest(const view *v)
{
    static const size_t windows[] = { 7, 3 };
    if (!holds(v, 1))
        return 0;
    for (int x = 0; x < 2; x++) /* no window divides another: each stands for itself */
        if (holds(v, windows[x]))
            return windows[x];
    return 1;
}

static void fill_windows(const view *v, qdwconv_acc16 *g, int8_t *w, int16_t *start)
{
    for (size_t half = 0; half < 2; half++)
        for (size_t t = 0; t < v->taps; t += 2)
            for (size_t lane = 0; lane < 16; lane++, w += 2) {
                w[0] = (int8_t)weight(v, t, channel16(half, lane));
                w[1] = (int8_t)weight(v, t + 1, channel16(half, lane));
            }
    g->single = g->window > 1 && v->taps <= 2 * g->window;
    for (size_t half = 0; half < 2; half++)
        for (size_t t = 0; g->window > 1 && t < v->taps; t += 2 * g->window)
            for (size_t lane = 0; lane < 16; lane++, start++) {
                int P, N;
                const size_t channel = channel16(half, lane);
                sums(v, t, 2 * g->window, channel, &P, &N);
                const int twice = g->single ? 510 * N : 255 * (N - P), least = (twice - (twice & 1)) / 2; /* floor */
                *start = (int16_t)least; /* 255 N wraps, and is read back as unsigned */
                g->fix[channel] += least;
            }
}

static void fill_wide(const view *v, const int32_t *wzp, size_t count, int16_t *wide)
{
    for (size_t t = 0; t < v->taps; t += 2)
        for (size_t quarter = 0; quarter < 4; quarter++)
            for (size_t lane = 0; lane < 8; lane++, wide += 2)
                for (size_t b = 0; b < 2; b++) {
                    const size_t channel = channel32(quarter, lane);
                    const int zero = wzp && t + b < v->taps && channel < count ? wzp[channel] : 0;
                    wide[b] = (int16_t)(weight(v, t + b, channel) - zero);
                }
}

void qdwconv_acc16_make(size_t kh, size_t kw, size_t c, const int8_t *w, const int32_t *wzp, void *proofs)
{
    const size_t groups = qdw_groups(c), weights = weight_bytes(kh * kw), starts = start_bytes(kh * kw);
    char *room = (char *)proofs + groups * sizeof(qdwconv_acc16);
    int8_t *sorted = (int8_t *)room + groups * (weights + starts);
    const view v = { sorted, kh * kw };
    for (size_t i = 0; i < groups; i++, room += weights + starts) {
        qdwconv_acc16 *g = (qdwconv_acc16 *)proofs + i;
        memset(g, 0, sizeof *g);
        g->first = c < QDW_NC ? 0 : min_size(i * QDW_NC, c - QDW_NC);
        g->pairs = (const int8_t *)room;
        g->wide = (const int16_t *)room;
        g->start = (const int16_t *)(room + weights);
        view_make(kh, kw, c, w + g->first, sorted);
        g->window = wzp ? 0 : widest(&v);
        if (g->window)
            fill_windows(&v, g, (int8_t *)room, (int16_t *)(room + weights));
        else
            fill_wide(&v, wzp ? wzp + g->first : NULL, min_size(c, QDW_NC), (int16_t *)room);
    }
}
