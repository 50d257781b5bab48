/* sample.c - images at any places: the taps of each axis first, then all channels with them. */
#include "../common/pcx.h"

#include <math.h>

enum { SAMPLE_POINTS = 64, SAMPLE_TAPS = 4 };
enum { SAMPLE_NEAREST, SAMPLE_LINEAR, SAMPLE_CUBIC };
enum { SAMPLE_ZEROS, SAMPLE_BORDER, SAMPLE_REFLECTION };

/* The cells of one axis that a point reads; those without weight are left out. */
typedef struct {
    size_t n, at[SAMPLE_TAPS];
    double weight[SAMPLE_TAPS];
} sample_axis;

/* `v` mirrored at the ends of [low, high] until it lies inside. */
static PCX_COLD double sample_mirrored(double v, double low, double high)
{
    const double span = high - low;
    if (!(span > 0))
        return low;
    const double turn = fmod(fabs(v - low), 2 * span);
    return low + (turn > span ? 2 * span - turn : turn);
}

/* `v` as the padding moves it into an axis of `size` cells. */
static PCX_COLD double sample_inside(const pcx_sample_args *p, double v, size_t size)
{
    const double end = (double)size - 1, low = p->corners ? 0 : -0.5, high = p->corners ? end : end + 0.5;
    if (p->padding == SAMPLE_ZEROS || (v >= low && v <= high))
        return v;
    return p->padding == SAMPLE_BORDER ? (v > end ? end : v > 0 ? v : 0) : sample_mirrored(v, low, high);
}

/* Cell `v`, a whole number, with its weight. */
static PCX_COLD void sample_tap(const pcx_sample_args *p, sample_axis *axis, double v, double weight, size_t size)
{
    const double end = (double)size - 1;
    if (weight == 0)
        return;
    if (p->padding == SAMPLE_REFLECTION)
        v = trunc(sample_inside(p, v, size));
    if (p->padding != SAMPLE_ZEROS)
        v = v > end ? end : v > 0 ? v : 0;
    if (!(v >= 0 && v <= end))
        return;
    axis->at[axis->n] = (size_t)v;
    axis->weight[axis->n++] = weight;
}

/* Keys' weight at distance d from a cell, 0 <= d <= 2. */
static PCX_COLD double sample_cubic(double d)
{
    const double a = -0.75;
    return d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}

static PCX_COLD sample_axis sample_taps(const pcx_sample_args *p, double v, size_t size)
{
    sample_axis axis = { 0 };
    if (!size)
        return axis;
    if (!(fabs(v) < 0x1p63)) /* NaN, too */
        v = p->corners ? 0 : -0.5;
    v = p->mode == SAMPLE_NEAREST ? rint(v) : v;
    if (p->mode != SAMPLE_CUBIC) /* whose taps are moved one by one */
        v = sample_inside(p, v, size);
    if (p->mode == SAMPLE_NEAREST) {
        sample_tap(p, &axis, trunc(v), 1, size);
        return axis;
    }
    const double from = floor(v), part = v - from;
    if (p->mode == SAMPLE_LINEAR) {
        sample_tap(p, &axis, from, 1 - part, size);
        sample_tap(p, &axis, from + 1, part, size);
        return axis;
    }
    for (int t = -1; t <= 2; t++)
        sample_tap(p, &axis, from + t, sample_cubic(fabs(part - t)), size);
    return axis;
}

/* One channel at one point. */
static PCX_COLD double sample_sum(const pcx_sample_args *p, const float *x, const sample_axis axes[3])
{
    double sum = 0;
    for (size_t i = 0; i < axes[0].n; i++)
        for (size_t j = 0; j < axes[1].n; j++) {
            const float *line = x + axes[0].at[i] * p->xd + axes[1].at[j] * p->xh;
            double part = 0;
            for (size_t k = 0; k < axes[2].n; k++)
                part += (double)line[axes[2].at[k] * p->xw] * axes[2].weight[k];
            sum += axes[0].weight[i] * axes[1].weight[j] * part;
        }
    return sum;
}

static size_t sample_units(const void *args)
{
    const pcx_sample_args *p = args;
    return p->c ? p->b * ceil_div(p->n, SAMPLE_POINTS) : 0;
}

static PCX_COLD void sample_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_sample_args *p = args;
    const size_t parts = ceil_div(p->n, SAMPLE_POINTS);
    (void)scratch;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t b = unit / parts, first = unit % parts * SAMPLE_POINTS;
        for (size_t i = first; i < min_size(first + SAMPLE_POINTS, p->n); i++) {
            const float *at = p->at + (b * p->n + i) * 3;
            const sample_axis axes[3] = { sample_taps(p, (double)at[0], p->d), sample_taps(p, (double)at[1], p->h),
                                          sample_taps(p, (double)at[2], p->w) };
            for (size_t c = 0; c < p->c; c++)
                p->out[(b * p->n + i) * p->c + c] = (float)sample_sum(p, p->x + b * p->xb + c * p->xc, axes);
        }
    }
}

static const pcx_impl sample_impls[] = {
    { "scalar", 0, sample_units, sample_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_sample = {
    "sample", 1,
    "b xb c xc d xd h xh w xw x:f32[b:xb,c:xc,d:xd,h:xh,w:xw] n at:f32[b,n,3] mode padding corners out:f32[b,n,c] "
    "where mode<3,padding<3,corners<2",
    sample_impls,
};
