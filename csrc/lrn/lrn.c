/* lrn.c - loops, compiled once for each ISA.  A unit is one row. */
#include "../common/pcx.h"

#include <math.h>

PCX_INLINE void lrn_run(const void *args, size_t begin, size_t end)
{
    const pcx_lrn_args *p = args;
    const size_t c = p->c, before = (p->size - 1) / 2, after = p->size / 2;
    const float alpha = p->params[0] / (float)p->size, beta = p->params[1], bias = p->params[2];
    for (size_t i = begin; i < end; i++) {
        const float *x = p->x + i * c;
        float *out = p->out + i * c;
        for (size_t j = 0; j < c; j++) {
            float sum = 0;
            for (size_t q = j - min_size(before, j); q <= j + min_size(after, c - 1 - j); q++)
                sum += x[q] * x[q];
            out[j] = x[j] / powf(bias + alpha * sum, beta);
        }
    }
}

static size_t lrn_units(const void *args)
{
    const pcx_lrn_args *p = args;
    return p->m;
}

PCX_LOOPS_512(lrn)

const pcx_kernel pcx_lrn = {
    "lrn", 1,
    "m c x:f32[m,c] size params:f32[3] out:f32[m,c] where size>=1",
    lrn_impls,
};
