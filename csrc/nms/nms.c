/* nms.c - the best box is kept and those that it covers are dropped, until none is left; rows follow each other, so one unit. */
#include "../common/pcx.h"

enum { NMS_LEFT, NMS_GONE };

/* Corners in order: low and high of the first axis, low and high of the second. */
static PCX_COLD void nms_corners(const pcx_nms_args *p, const float *box, float corners[4])
{
    for (size_t i = 0; i < 2; i++) {
        const float u = box[i], v = box[i + 2];
        corners[2 * i] = p->center ? u - v / 2 : u < v ? u : v;
        corners[2 * i + 1] = p->center ? u + v / 2 : u < v ? v : u;
    }
}

static PCX_COLD int nms_covers(const pcx_nms_args *p, const float *a, const float *b)
{
    float u[4], v[4], shared = 1, area_u = 1, area_v = 1;
    nms_corners(p, a, u);
    nms_corners(p, b, v);
    for (size_t i = 0; i < 4; i += 2) {
        const float low = u[i] > v[i] ? u[i] : v[i], high = u[i + 1] < v[i + 1] ? u[i + 1] : v[i + 1];
        if (!(high > low))
            return 0;
        shared *= high - low;
        area_u *= u[i + 1] - u[i];
        area_v *= v[i + 1] - v[i];
    }
    const float together = area_u + area_v - shared;
    return together > 0 && shared / together > *p->overlap;
}

/* The boxes of one class of one image; returns how many were written to `out`, at most p->k. */
static PCX_COLD size_t nms_class(const pcx_nms_args *p, size_t b, size_t c, uint8_t *state, int64_t *out)
{
    const float *boxes = p->boxes + b * p->n * 4, *scores = p->scores + (b * p->c + c) * p->n;
    size_t count = 0;
    for (size_t i = 0; i < p->n; i++)
        state[i] = scores[i] == scores[i] && (!p->threshold || scores[i] > *p->threshold) ? NMS_LEFT : NMS_GONE;
    while (count < p->k) {
        size_t best = p->n;
        for (size_t i = 0; i < p->n; i++)
            if (state[i] == NMS_LEFT && (best == p->n || scores[i] > scores[best]))
                best = i;
        if (best == p->n)
            break;
        out[3 * count] = (int64_t)b;
        out[3 * count + 1] = (int64_t)c;
        out[3 * count + 2] = (int64_t)best;
        count++;
        state[best] = NMS_GONE;
        for (size_t i = 0; i < p->n; i++)
            if (state[i] == NMS_LEFT && nms_covers(p, boxes + 4 * best, boxes + 4 * i))
                state[i] = NMS_GONE;
    }
    return count;
}

static size_t nms_units(const void *args)
{
    (void)args;
    return 1;
}

static size_t nms_scratch(const void *args)
{
    const pcx_nms_args *p = args;
    return p->b && p->c ? p->n : 0;
}

static PCX_COLD void nms_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_nms_args *p = args;
    if (begin == end)
        return;
    size_t count = 0;
    for (size_t b = 0; p->n && b < p->b; b++)
        for (size_t c = 0; c < p->c; c++)
            count += nms_class(p, b, c, scratch, p->out + 3 * count);
    *p->out_count = (int64_t)count;
    memset(p->out + 3 * count, 0, (p->b * p->c * p->k - count) * 3 * sizeof *p->out);
}

static const pcx_impl nms_impls[] = {
    { "scalar", 0, nms_units, nms_scalar, nms_scratch, NULL, NULL, NULL },
};

const pcx_kernel pcx_nms = {
    "nms", 1,
    "b n boxes:f32[b,n,4] c scores:f32[b,c,n] overlap:f32[1] threshold?:f32[1] center k out:i64[b,c,k,3] out_count:i64[1] "
    "where center<2",
    nms_impls,
};
