/* qdwproof.c - see qdwproof.h. */
#include "qdwproof.h"

enum { PAIR = 128, WINDOW = 256 };

static size_t channel16(size_t half, size_t lane) { return 8 * half + lane / 8 * 16 + lane % 8; }
static size_t channel32(size_t quarter, size_t lane) { return 4 * quarter + lane / 4 * 16 + lane % 4; }

/* Bytes of a group's weights, wide being the larger form, and of its starts. */
static size_t weight_bytes(size_t taps) { return ceil_div(taps, 2) * 4 * QDW_NC; }
static size_t start_bytes(size_t taps) { return ceil_div(ceil_div(taps, 2), 3) * 2 * QDW_NC; }

size_t qdwproof_bytes(size_t taps, size_t c)
{
    return qdw_groups(c) * (sizeof(qdwproof) + weight_bytes(taps) + start_bytes(taps));
}

/* Weights [taps,c] seen from the first channel of a group. */
typedef struct {
    const int8_t *w;
    size_t taps, c, count; /* channels of the group that there are */
} view;

static int weight(const view *v, size_t tap, size_t channel)
{
    return tap < v->taps && channel < v->count ? v->w[tap * v->c + channel] : 0;
}

/* P and N of `count` taps of a channel. */
static void sums(const view *v, size_t tap, size_t count, size_t channel, int *P, int *N)
{
    *P = *N = 0;
    for (size_t t = tap; t < tap + count; t++) {
        const int x = weight(v, t, channel);
        *P += x > 0 ? x : 0;
        *N -= x < 0 ? x : 0;
    }
}

static int holds(const view *v, size_t window)
{
    for (size_t t = 0; t < v->taps; t += 2 * window)
        for (size_t channel = 0; channel < v->count; channel++) {
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

static void fill_windows(const view *v, qdwproof *g, int8_t *w, int16_t *start)
{
    for (size_t t = 0; t < v->taps; t += 2)
        for (size_t half = 0; half < 2; half++)
            for (size_t lane = 0; lane < 16; lane++, w += 2) {
                w[0] = (int8_t)weight(v, t, channel16(half, lane));
                w[1] = (int8_t)weight(v, t + 1, channel16(half, lane));
            }
    for (size_t t = 0; g->window > 1 && t < v->taps; t += 2 * g->window)
        for (size_t half = 0; half < 2; half++)
            for (size_t lane = 0; lane < 16; lane++, start++) {
                int P, N;
                const size_t channel = channel16(half, lane);
                sums(v, t, 2 * g->window, channel, &P, &N);
                const int twice = 255 * (N - P);
                *start = (int16_t)((twice - (twice & 1)) / 2); /* floor */
                g->fix[channel] += *start;
            }
}

static void fill_wide(const view *v, const int32_t *wzp, int16_t *wide)
{
    for (size_t t = 0; t < v->taps; t += 2)
        for (size_t quarter = 0; quarter < 4; quarter++)
            for (size_t lane = 0; lane < 8; lane++, wide += 2)
                for (size_t b = 0; b < 2; b++) {
                    const size_t channel = channel32(quarter, lane);
                    const int zero = wzp && t + b < v->taps && channel < v->count ? wzp[channel] : 0;
                    wide[b] = (int16_t)(weight(v, t + b, channel) - zero);
                }
}

void qdwproof_make(size_t taps, size_t c, const int8_t *w, const int32_t *wzp, void *proofs)
{
    char *room = (char *)proofs + qdw_groups(c) * sizeof(qdwproof);
    for (size_t i = 0; i < qdw_groups(c); i++) {
        qdwproof *g = (qdwproof *)proofs + i;
        memset(g, 0, sizeof *g);
        g->first = c < QDW_NC ? 0 : min_size(i * QDW_NC, c - QDW_NC);
        const view v = { w + g->first, taps, c, min_size(c, QDW_NC) };
        g->pairs = (const int8_t *)room;
        g->wide = (const int16_t *)room;
        g->start = (const int16_t *)(room + weight_bytes(taps));
        g->window = wzp ? 0 : widest(&v);
        if (g->window)
            fill_windows(&v, g, (int8_t *)room, (int16_t *)(room + weight_bytes(taps)));
        else
            fill_wide(&v, wzp ? wzp + g->first : NULL, (int16_t *)room);
        room += weight_bytes(taps) + start_bytes(taps);
    }
}
