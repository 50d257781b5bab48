/* dynquant.h - the body, compiled once for each ISA.  One unit: the range needs all of x. */
#ifndef PCX_DYNQUANT_H
#define PCX_DYNQUANT_H

#include "../runtime/round.h"

enum { DYNQUANT_LANES = 64 };

PCX_HIDDEN pcx_run_fn dynquant_avx2;

PCX_INLINE void dynquant_run(const void *args, size_t begin, size_t end)
{
    const pcx_dynquant_args *p = args;
    if (begin >= end)
        return;
    const float *x = p->x;
    float low[DYNQUANT_LANES] = { 0 }, high[DYNQUANT_LANES] = { 0 };
    const size_t whole = p->n / DYNQUANT_LANES * DYNQUANT_LANES;
    for (size_t i = 0; i < whole; i += DYNQUANT_LANES)
        for (size_t j = 0; j < DYNQUANT_LANES; j++) {
            low[j] = x[i + j] < low[j] ? x[i + j] : low[j];
            high[j] = x[i + j] > high[j] ? x[i + j] : high[j];
        }
    for (size_t i = whole; i < p->n; i++) {
        low[0] = x[i] < low[0] ? x[i] : low[0];
        high[0] = x[i] > high[0] ? x[i] : high[0];
    }
    for (size_t j = 1; j < DYNQUANT_LANES; j++) {
        low[0] = low[j] < low[0] ? low[j] : low[0];
        high[0] = high[j] > high[0] ? high[j] : high[0];
    }
    const float range = high[0] - low[0], scale = range > 0 ? range / 255 : 1;
    const int32_t zero = pcx_rne(pcx_clamp(-low[0] / scale, 0, 255));
    p->out_scale[0] = scale;
    p->out_zero[0] = zero;
    const float least = (float)-zero, greatest = (float)(255 - zero);
    const size_t n = p->n;
    uint8_t *out = p->out;
    PCX_IVDEP
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(pcx_rne(pcx_clamp(x[i] / scale, least, greatest)) + zero);
}

#endif
