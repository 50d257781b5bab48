/* resample.c - loops, compiled once for each ISA.  A unit is RESAMPLE_ROWS neighbours of the output's axis. */
#include "../common/pcx.h"

enum { RESAMPLE_ROWS = 16 };

/* out[j] = sum of weight[t] * x[index[t] * n + j], added in order. */
PCX_INLINE void resample_row(const float *x, size_t n, const int32_t *index, const float *weight, size_t taps,
                             float *out)
{
    if (n == 1) {
        float sum = 0;
        for (size_t t = 0; t < taps; t++)
            sum += weight[t] * x[(size_t)index[t]];
        out[0] = sum;
        return;
    }
    memset(out, 0, n * sizeof *out);
    for (size_t t = 0; t < taps; t++) {
        const float *from = x + (size_t)index[t] * n, by = weight[t];
        PCX_IVDEP
        for (size_t j = 0; j < n; j++)
            out[j] += by * from[j];
    }
}

PCX_INLINE void resample_run(const void *args, size_t begin, size_t end)
{
    const pcx_resample_args *p = args;
    const size_t strips = ceil_div(p->m, RESAMPLE_ROWS);
    for (size_t unit = begin; unit < end; unit++) {
        const size_t o = unit / strips, first = unit % strips * RESAMPLE_ROWS;
        for (size_t i = first; i < min_size(first + RESAMPLE_ROWS, p->m); i++)
            resample_row(p->x + o * p->r * p->inner, p->inner, p->index + i * p->taps, p->weight + i * p->taps,
                         p->taps, p->out + (o * p->m + i) * p->inner);
    }
}

static size_t resample_units(const void *args)
{
    const pcx_resample_args *p = args;
    return p->outer * ceil_div(p->m, RESAMPLE_ROWS);
}

PCX_LOOPS_512(resample)

const pcx_kernel pcx_resample = {
    "resample", 1,
    "outer r inner x:f32[outer,r,inner] m taps index:i32[m,taps]<r weight:f32[m,taps] out:f32[outer,m,inner]",
    resample_impls,
};
