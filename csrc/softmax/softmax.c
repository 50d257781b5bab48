/* softmax.c - loops, compiled once for each ISA; lanes as in reduce. */
#include "../common/act.h"

#include <math.h>

enum { SOFTMAX_LANES = 32 };

/* A contiguous row. */
PCX_INLINE void softmax_row(const float *x, size_t r, int log, float *out)
{
    const size_t whole = r / SOFTMAX_LANES * SOFTMAX_LANES;
    float t[SOFTMAX_LANES], top = -INFINITY, total = 0;
    for (size_t j = 0; j < SOFTMAX_LANES; j++)
        t[j] = -INFINITY;
    for (size_t i = 0; i < whole; i += SOFTMAX_LANES)
        for (size_t j = 0; j < SOFTMAX_LANES; j++)
            t[j] = x[i + j] > t[j] ? x[i + j] : t[j];
    for (size_t j = 0; j < r - whole; j++)
        t[j] = x[whole + j] > t[j] ? x[whole + j] : t[j];
    for (size_t j = 0; j < SOFTMAX_LANES; j++)
        top = t[j] > top ? t[j] : top;

    for (size_t j = 0; j < SOFTMAX_LANES; j++)
        t[j] = 0;
    for (size_t i = 0; i < r; i += SOFTMAX_LANES) {
        const size_t n = min_size(r - i, SOFTMAX_LANES);
        float e[SOFTMAX_LANES];
        for (size_t j = 0; j < n; j++) {
            e[j] = act_exp(x[i + j] - top);
            t[j] += e[j];
        }
        if (!log)
            memcpy(out + i, e, n * sizeof *e);
    }
    for (size_t w = SOFTMAX_LANES / 2; w; w /= 2)
        for (size_t j = 0; j < w; j++)
            t[j] += t[j + w];
    total = t[0];

    if (log) {
        const float logarithm = logf(total);
        PCX_IVDEP
        for (size_t i = 0; i < r; i++)
            out[i] = x[i] - top - logarithm;
    } else {
        for (size_t i = 0; i < r; i++)
            out[i] /= total;
    }
}

/* n <= SOFTMAX_LANES neighbours of the inner axis, each over its r elements `stride` apart. */
PCX_INLINE void softmax_columns(const float *x, size_t r, size_t stride, size_t n, int log, float *out)
{
    float top[SOFTMAX_LANES], total[SOFTMAX_LANES];
    double sum[SOFTMAX_LANES];
    for (size_t j = 0; j < n; j++) {
        top[j] = -INFINITY;
        sum[j] = 0;
    }
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < n; j++)
            top[j] = x[i * stride + j] > top[j] ? x[i * stride + j] : top[j];
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < n; j++)
            sum[j] += act_exp(x[i * stride + j] - top[j]);
    for (size_t j = 0; j < n; j++)
        total[j] = log ? logf((float)sum[j]) : (float)sum[j];
    for (size_t i = 0; i < r; i++)
        PCX_IVDEP
        for (size_t j = 0; j < n; j++) {
            const float shifted = x[i * stride + j] - top[j];
            out[i * stride + j] = log ? shifted - total[j] : act_exp(shifted) / total[j];
        }
}

PCX_INLINE void softmax_run(const void *args, size_t begin, size_t end)
{
    const pcx_softmax_args *p = args;
    const size_t strips = ceil_div(p->inner, SOFTMAX_LANES);
    for (size_t unit = begin; unit < end; unit++) {
        const size_t i = unit % strips * SOFTMAX_LANES, at = unit / strips * p->r * p->inner + i;
        const size_t n = min_size(p->inner - i, SOFTMAX_LANES);
        if (p->inner == 1)
            softmax_row(p->x + at, p->r, p->log != 0, p->out + at);
        else if (p->log)
            softmax_columns(p->x + at, p->r, p->inner, n, 1, p->out + at);
        else
            softmax_columns(p->x + at, p->r, p->inner, n, 0, p->out + at);
    }
}

static size_t softmax_units(const void *args)
{
    const pcx_softmax_args *p = args;
    return p->outer * ceil_div(p->inner, SOFTMAX_LANES);
}

PCX_LOOPS_512(softmax)

const pcx_kernel pcx_softmax = {
    "softmax", 1,
    "outer r inner x:f32[outer,r,inner] log out:f32[outer,r,inner]",
    softmax_impls,
};
