/* dynquant.h - one row, for kernels that quantize rows of their own: inlined, so compiled for the ISA of its caller. */
#ifndef PCX_DYNQUANT_H
#define PCX_DYNQUANT_H

#include "../common/round.h"

#include <float.h>

enum { DYNQUANT_LANES = 64 };

/* One row of k numbers. */
PCX_INLINE void dynquant_row(const float *x, size_t k, uint8_t *out, float *out_scale, int32_t *out_zero)
{
    float low[DYNQUANT_LANES] = { 0 }, high[DYNQUANT_LANES] = { 0 };
    const size_t whole = k / DYNQUANT_LANES * DYNQUANT_LANES;
    for (size_t i = 0; i < whole; i += DYNQUANT_LANES)
        for (size_t j = 0; j < DYNQUANT_LANES; j++) {
            low[j] = x[i + j] < low[j] ? x[i + j] : low[j];
            high[j] = x[i + j] > high[j] ? x[i + j] : high[j];
        }
    for (size_t i = whole; i < k; i++) {
        low[0] = x[i] < low[0] ? x[i] : low[0];
        high[0] = x[i] > high[0] ? x[i] : high[0];
    }
    for (size_t j = 1; j < DYNQUANT_LANES; j++) {
        low[0] = low[j] < low[0] ? low[j] : low[0];
        high[0] = high[j] > high[0] ? high[j] : high[0];
    }
    /* A scale below 2^-126 would be 0 if subnormals are flushed to zero: such a row counts as zeros. */
    const float range = high[0] - low[0], scale = range > 255 * FLT_MIN ? range / 255 : 1;
    const int32_t zero = round_half_even(round_clamp(-low[0] / scale, 0, 255));
    *out_scale = scale;
    *out_zero = zero;
    const float min = (float)-zero, max = (float)(255 - zero);
    PCX_IVDEP
    for (size_t i = 0; i < k; i++)
        out[i] = (uint8_t)(round_half_even(round_clamp(x[i] / scale, min, max)) + zero);
}

#endif
