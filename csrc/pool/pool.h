/* pool.h - windows, and scalar.  A unit is a row of the output. */
#ifndef PCX_POOL_H
#define PCX_POOL_H

#include "../common/taps.h"

#include <math.h>

enum { POOL_LANES = 32 };

PCX_HIDDEN pcx_run_fn pool_avx2, pool_avx512, pool_neon;

typedef struct {
    const float *x; /* the window's first cell inside the image */
    size_t rows, columns, row_step, column_step;
} pool_window;

/* The maximum of two numbers; NaN if either is NaN. */
PCX_INLINE float pool_max(float x, float than) { return x > than || x != x ? x : than; }

/* n <= POOL_LANES channels of one window; sums go along rows, then over them. */
PCX_INLINE void pool_lanes(const pool_window *w, size_t c, size_t n, int max, float divisor, float *out)
{
    float all[POOL_LANES], row[POOL_LANES];
    for (size_t j = 0; j < n; j++)
        all[j] = max ? -INFINITY : 0;
    for (size_t y = 0; y < w->rows; y++) {
        const float *x = w->x + y * w->row_step + c;
        for (size_t j = 0; j < n; j++)
            row[j] = max ? pool_max(x[j], all[j]) : x[j];
        for (size_t i = 1; i < w->columns; i++) {
            x += w->column_step;
            for (size_t j = 0; j < n; j++)
                row[j] = max ? pool_max(x[j], row[j]) : row[j] + x[j];
        }
        for (size_t j = 0; j < n; j++)
            all[j] = max ? row[j] : all[j] + row[j];
    }
    for (size_t j = 0; j < n; j++)
        out[c + j] = max ? all[j] : all[j] / divisor;
}

/* Channels [c, channels) of one window. */
typedef void pool_channels_fn(const pool_window *w, size_t c, size_t channels, int max, float divisor, float *out);

PCX_INLINE void pool_channels(const pool_window *w, size_t c, size_t channels, int max, float divisor, float *out)
{
    for (; c + POOL_LANES <= channels; c += POOL_LANES)
        pool_lanes(w, c, POOL_LANES, max, divisor, out);
    if (c < channels)
        pool_lanes(w, c, channels - c, max, divisor, out);
}

PCX_INLINE void pool_run(const void *args, size_t begin, size_t end, pool_channels_fn *channels)
{
    const pcx_pool_args *p = args;
    const size_t plane = p->iw * p->ldx;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t b = unit / p->oh, top = unit % p->oh * p->sh;
        size_t y0, y1, x0, x1, py0, py1, px0, px1;
        taps_of(top - p->pt, p->kh, p->dh, p->ih, &y0, &y1);
        taps_of(top, p->kh, p->dh, p->pt + p->ih + p->pb, &py0, &py1);
        for (size_t ox = 0; ox < p->ow; ox++) {
            const size_t left = ox * p->sw;
            taps_of(left - p->pl, p->kw, p->dw, p->iw, &x0, &x1);
            size_t cells = (y1 - y0) * (x1 - x0);
            pool_window w = { p->x, y1 - y0, x1 - x0, p->dh * plane, p->dw * p->ldx };
            if (cells)
                w.x += (b * p->ih + top - p->pt + y0 * p->dh) * plane + (left - p->pl + x0 * p->dw) * p->ldx;
            else
                w.rows = 0;
            if (p->mode == 2) {
                taps_of(left, p->kw, p->dw, p->pl + p->iw + p->pr, &px0, &px1);
                cells = (py1 - py0) * (px1 - px0);
            }
            float *out = p->out + (unit * p->ow + ox) * p->ldo;
            if (p->mode == 0)
                channels(&w, 0, p->c, 1, 1, out);
            else
                channels(&w, 0, p->c, 0, cells ? (float)cells : 1, out);
        }
    }
}

#endif
