/*
 * qdescend.c - loops, compiled once for each ISA.  A unit is QDESCEND_ROWS rows, which take one weight after the other
 * together, so that a row of the matrix is read from cache by all that move this weight.  No fused additions: every ISA
 * gives the same codes.
 */
#include "../common/pcx.h"

#include "../common/round.h"

#include <math.h>

enum { QDESCEND_ROWS = 16, QDESCEND_LIMIT = 127, QDESCEND_PAIR = 128, QDESCEND_CHUNK = 256, QDESCEND_CODES = 15 };

/* The best code of weight j of a row, given its quotient, within the bounds. */
PCX_INLINE int32_t qdescend_best(const pcx_qdescend_args *p, size_t row, size_t j, float wanted, const uint32_t *total)
{
    const int8_t *v = p->out + row * p->k;
    int32_t low = -QDESCEND_LIMIT, high = QDESCEND_LIMIT;
    if (p->low) {
        low = p->low[row * p->k + j];
        high = low + QDESCEND_CODES < high ? low + QDESCEND_CODES : high;
    }
    if (p->chunk) {
        const int32_t max = QDESCEND_CHUNK - (int32_t)total[p->chunk[j]] + (v[j] < 0 ? -v[j] : v[j]);
        high = high < max ? high : max > 0 ? max : 0;
        low = low > -high ? low : -high;
    }
    if (p->partner) {
        const int32_t at = p->partner[j], other = (size_t)at < p->k ? v[at] : 0;
        const int32_t down = -QDESCEND_PAIR - (other < 0 ? other : 0), up = QDESCEND_PAIR - (other > 0 ? other : 0);
        low = low > down ? low : down;
        high = high < up ? high : up;
    }
    const int32_t code = round_half_even(round_clamp(wanted, -256, 256));
    const int32_t raised = code > low ? code : low;
    return raised < high ? raised : high;
}

/* Weight j of the rows; which of them moved it, as bits. */
PCX_INLINE uint32_t qdescend_weight(const pcx_qdescend_args *p, size_t first, size_t rows, size_t j, float *slope,
                                    uint32_t *total)
{
    const size_t k = p->k, stride = p->chunk ? p->chunks : 0;
    uint32_t moved = 0;
    for (size_t i = 0; i < rows; i++) {
        const size_t row = first + i;
        const float *c = p->c + min_size(row, p->u - 1) * k * k + j * k;
        const float step = p->scale[row * p->g + min_size(j, p->g - 1)], unit = c[j] * step;
        float *s = slope + i * k;
        if (fabsf(s[j]) < 0.5f * fabsf(unit) || (p->fixed && p->fixed[row * k + j]))
            continue;
        int8_t *v = p->out + row * k;
        const int32_t code = qdescend_best(p, row, j, (float)v[j] - s[j] / unit, total + i * stride);
        const int32_t delta = code - v[j];
        if (!delta)
            continue;
        moved |= 1u << i;
        if (p->chunk)
            total[i * stride + (size_t)p->chunk[j]] += (uint32_t)((code < 0 ? -code : code) - (v[j] < 0 ? -v[j] : v[j]));
        v[j] = (int8_t)code;
        const float change = (float)delta * step;
        for (size_t x = 0; x < k; x++)
            s[x] += change * c[x];
    }
    return moved;
}

PCX_INLINE void qdescend_run(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qdescend_args *p = args;
    const size_t k = p->k;
    float *slope = scratch;
    uint32_t *total = (uint32_t *)(slope + QDESCEND_ROWS * k);
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit * QDESCEND_ROWS, rows = min_size(p->n - first, QDESCEND_ROWS);
        memcpy(p->out + first * k, p->q + first * k, rows * k);
        memcpy(slope, p->slope + first * k, rows * k * sizeof *slope);
        if (p->chunk) {
            memset(total, 0, rows * p->chunks * sizeof *total);
            for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < k; j++) {
                    const int32_t v = p->q[(first + i) * k + j];
                    total[i * p->chunks + (size_t)p->chunk[j]] += (uint32_t)(v < 0 ? -v : v);
                }
        }
        for (size_t sweep = 0; sweep < p->sweeps; sweep++) {
            uint32_t moved = 0;
            for (size_t j = 0; j < k; j++)
                moved |= qdescend_weight(p, first, rows, j, slope, total);
            if (!moved)
                break;
        }
    }
}

static size_t qdescend_units(const void *args) { return ceil_div(((const pcx_qdescend_args *)args)->n, QDESCEND_ROWS); }

static size_t qdescend_scratch(const void *args)
{
    const pcx_qdescend_args *p = args;
    return QDESCEND_ROWS * (p->k + p->chunks) * 4;
}

#define QDESCEND_FOR(isa, attribute)                                                                     \
    attribute static void qdescend_##isa(const void *args, size_t begin, size_t end, void *scratch)      \
    {                                                                                                    \
        qdescend_run(args, begin, end, scratch);                                                         \
    }
#if PCX_X86
QDESCEND_FOR(avx512, __attribute__((target(PCX_TARGET_AVX512))))
QDESCEND_FOR(avx2, __attribute__((target("avx2"))))
QDESCEND_FOR(scalar, PCX_COLD)
#else
QDESCEND_FOR(scalar, )
#endif

static const pcx_impl qdescend_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, qdescend_units, qdescend_avx512, qdescend_scratch, NULL, NULL, NULL },
    { "avx2", PCX_AVX2, qdescend_units, qdescend_avx2, qdescend_scratch, NULL, NULL, NULL },
#endif
    { "scalar", 0, qdescend_units, qdescend_scalar, qdescend_scratch, NULL, NULL, NULL },
};

const pcx_kernel pcx_qdescend = {
    "qdescend", 1,
    "n k q:i8[n,k] slope:f32[n,k] g scale:f32[n,g] u c:f32[u,k,k] low?:i8[n,k] fixed?:u8[n,k] partner?:i32[k]<k+1 chunks "
    "chunk?:i32[k]<chunks sweeps out:i8[n,k] where u>=1,g>=1,chunks<=k,sweeps<=64",
    qdescend_impls,
};
