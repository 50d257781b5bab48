/* layernorm.c - loops, compiled once for each ISA.  A unit is a row; sums go in LAYERNORM_LANES lanes. */
#include "../common/pcx.h"

#include <math.h>

enum { LAYERNORM_LANES = 32 };

/* The mean of x - shift, or of its square. */
PCX_INLINE float layernorm_mean(const float *x, size_t n, float shift, int square)
{
    float t[LAYERNORM_LANES] = { 0 };
    const size_t whole = n / LAYERNORM_LANES * LAYERNORM_LANES;
    for (size_t i = 0; i < whole; i += LAYERNORM_LANES)
        for (size_t j = 0; j < LAYERNORM_LANES; j++) {
            const float v = x[i + j] - shift;
            t[j] += square ? v * v : v;
        }
    for (size_t j = 0; j < n - whole; j++) {
        const float v = x[whole + j] - shift;
        t[j] += square ? v * v : v;
    }
    for (size_t w = LAYERNORM_LANES / 2; w; w /= 2)
        for (size_t j = 0; j < w; j++)
            t[j] += t[j + w];
    return t[0] / (float)n;
}

/* A row whose squares float does not hold. */
PCX_NOINLINE PCX_MAYBE_UNUSED static void layernorm_wide(const pcx_layernorm_args *p, const float *x, float *out)
{
    const double n = (double)p->n;
    double mean = 0, square = 0;
    for (size_t j = 0; j < p->n && !p->rms; j++)
        mean += (double)x[j] / n;
    for (size_t j = 0; j < p->n; j++)
        square += ((double)x[j] - mean) * ((double)x[j] - mean);
    const double deviation = sqrt(square / n + (double)p->epsilon[0]);
    for (size_t j = 0; j < p->n; j++)
        out[j] = (float)(((double)x[j] - mean) / deviation);
}

PCX_INLINE void layernorm_run(const void *args, size_t begin, size_t end)
{
    const float min = 1e-15f; /* of a deviation: below, squares leave the range of floats, too */
    const pcx_layernorm_args *p = args;
    for (size_t i = begin; i < end; i++) {
        const float *x = p->x + i * p->n;
        float *out = p->out + i * p->n;
        const float mean = p->rms ? 0 : layernorm_mean(x, p->n, 0, 0);
        const float deviation = sqrtf(layernorm_mean(x, p->n, mean, 1) + p->epsilon[0]);
        if (!(deviation > min && deviation < INFINITY)) {
            layernorm_wide(p, x, out);
        } else {
            PCX_IVDEP
            for (size_t j = 0; j < p->n; j++)
                out[j] = (x[j] - mean) / deviation;
        }
        if (p->scale)
            for (size_t j = 0; j < p->n; j++)
                out[j] *= p->scale[j];
        if (p->bias)
            for (size_t j = 0; j < p->n; j++)
                out[j] += p->bias[j];
    }
}

static size_t layernorm_units(const void *args)
{
    const pcx_layernorm_args *p = args;
    return p->m;
}

PCX_LOOPS_512(layernorm)

const pcx_kernel pcx_layernorm = {
    "layernorm", 1,
    "m n x:f32[m,n] scale?:f32[n] bias?:f32[n] epsilon:f32[1] rms out:f32[m,n]",
    layernorm_impls,
};
