/* qpool.h - the walk over windows, and scalar.  A unit is a row of the output. */
#ifndef PCX_QPOOL_H
#define PCX_QPOOL_H

#include "../common/qepilogue.h"
#include "../common/taps.h"

enum { QPOOL_LANES = 64 };

PCX_HIDDEN pcx_run_fn qpool_avx512, qpool_avx2, qpool_neon;

typedef struct {
    const uint8_t *x; /* the window's first cell inside the image */
    size_t rows, columns, row_step, column_step;
    uint32_t zeros; /* number of cells times the zero point of x */
    float scale;
    qepilogue_clamp clamp;
} qpool_window;

PCX_INLINE void qpool_max(const qpool_window *w, size_t c, size_t n, uint8_t *out)
{
    uint8_t top[QPOOL_LANES] = { 0 };
    for (size_t y = 0; y < w->rows; y++)
        for (size_t i = 0; i < w->columns; i++) {
            const uint8_t *x = w->x + y * w->row_step + i * w->column_step + c;
            for (size_t j = 0; j < n; j++)
                top[j] = x[j] > top[j] ? x[j] : top[j];
        }
    memcpy(out + c, top, n);
}

/* Sums are taken modulo 2^32: exact up to 2^23 cells. */
PCX_INLINE void qpool_mean(const qpool_window *w, size_t c, size_t n, uint8_t *out)
{
    uint32_t sum[QPOOL_LANES] = { 0 };
    for (size_t y = 0; y < w->rows; y++)
        for (size_t i = 0; i < w->columns; i++) {
            const uint8_t *x = w->x + y * w->row_step + i * w->column_step + c;
            for (size_t j = 0; j < n; j++)
                sum[j] += x[j];
        }
    for (size_t j = 0; j < n; j++)
        out[c + j] = (uint8_t)qepilogue_round((float)(int32_t)(sum[j] - w->zeros) * w->scale, &w->clamp);
}

PCX_INLINE void qpool_channels(const qpool_window *w, size_t channels, int max, uint8_t *out)
{
    size_t c = 0;
    for (; c + QPOOL_LANES <= channels; c += QPOOL_LANES)
        if (max)
            qpool_max(w, c, QPOOL_LANES, out);
        else
            qpool_mean(w, c, QPOOL_LANES, out);
    if (c < channels && max)
        qpool_max(w, c, channels - c, out);
    else if (c < channels)
        qpool_mean(w, c, channels - c, out);
}

/* out[0..channels) of one window. */
typedef void qpool_channels_fn(const qpool_window *w, size_t channels, int max, uint8_t *out);

PCX_INLINE void qpool_run(const void *args, size_t begin, size_t end, qpool_channels_fn *channels)
{
    const pcx_qpool_args *p = args;
    const size_t plane = p->iw * p->ldx;
    qpool_window w = { p->x, 0, 0, p->dh * plane, p->dw * p->ldx, 0, 0, qepilogue_clamp_make(p->clamp) };
    for (size_t unit = begin; unit < end; unit++) {
        const size_t b = unit / p->oh, top = unit % p->oh * p->sh;
        size_t y0, y1, x0, x1, py0, py1, px0, px1;
        taps_of(top - p->pt, p->kh, p->dh, p->ih, &y0, &y1);
        taps_of(top, p->kh, p->dh, p->pt + p->ih + p->pb, &py0, &py1);
        for (size_t ox = 0; ox < p->ow; ox++) {
            const size_t left = ox * p->sw;
            taps_of(left - p->pl, p->kw, p->dw, p->iw, &x0, &x1);
            size_t cells = (y1 - y0) * (x1 - x0);
            w.rows = cells ? y1 - y0 : 0;
            w.columns = x1 - x0;
            w.zeros = (uint32_t)cells * (uint32_t)p->xzp[0];
            if (cells)
                w.x = p->x + (b * p->ih + top - p->pt + y0 * p->dh) * plane + (left - p->pl + x0 * p->dw) * p->ldx;
            if (p->mode == 2) {
                taps_of(left, p->kw, p->dw, p->pl + p->iw + p->pr, &px0, &px1);
                cells = (py1 - py0) * (px1 - px0);
            }
            w.scale = p->scale[0] / (float)max_size(cells, 1);
            channels(&w, p->c, p->mode == 0, p->out + (unit * p->ow + ox) * p->ldo);
        }
    }
}

#endif
