/*
 * qround.c - loops, compiled once for each ISA.  A unit is a row.  Sums of errors have QROUND_LANES lanes and no fused
 * additions, so that every ISA takes the same scales.
 */
#include "../common/pcx.h"

#include "../common/round.h"

#include <math.h>

enum { QROUND_LANES = 16, QROUND_LIMIT = 127, QROUND_PAIR = 128, QROUND_CHUNK = 256, QROUND_EXCESS = 16 };

/* The weighted squared error of the codes r of the quotients x. */
PCX_INLINE double qround_error(const float *x, const float *r, const float *h, size_t count, float s)
{
    float lanes[QROUND_LANES] = { 0 };
    size_t i = 0;
    for (; i + QROUND_LANES <= count; i += QROUND_LANES)
        for (size_t j = 0; j < QROUND_LANES; j++)
            lanes[j] += (r[i + j] - x[i + j]) * (r[i + j] - x[i + j]) * h[i + j];
    for (size_t j = 0; i + j < count; j++)
        lanes[j] += (r[i + j] - x[i + j]) * (r[i + j] - x[i + j]) * h[i + j];
    double sum = 0;
    for (size_t j = 0; j < QROUND_LANES; j++)
        sum += (double)lanes[j];
    return sum * (double)s * (double)s;
}

/* Lowers the absolute codes by `excess` in all, one at a time where the error grows the least. */
static void qround_shrink(const float *x, float *r, const float *h, size_t depth, float excess)
{
    for (; excess > 0; excess--) {
        size_t pick = 0;
        float min = INFINITY;
        for (size_t i = 0; i < depth; i++) {
            const float value = fabsf(r[i]), cost = value > 0 ? h[i] * (2 * (fabsf(x[i]) - value) + 1) : INFINITY;
            if (cost < min) {
                min = cost;
                pick = i;
            }
        }
        r[pick] -= r[pick] > 0 ? 1.0f : r[pick] < 0 ? -1.0f : 0.0f;
    }
}

/* 2: the chunk is within its bounds; 1: it was moved into them, if that is `wanted`; 0: it cannot be. */
PCX_INLINE int qround_chunk(const float *x, float *r, const float *h, size_t depth, int wanted)
{
    int found = 2;
    for (size_t i = 0; i + 1 < depth; i += 2) {
        const float excess = fabsf(r[i] + r[i + 1]) - QROUND_PAIR;
        if (excess > QROUND_EXCESS)
            return 0;
        if (excess > 0) {
            found = 1;
            if (wanted)
                qround_shrink(x + i, r + i, h + i, 2, excess);
        }
    }
    if (depth <= 2)
        return found;
    float sum = 0; /* of integers: exact in any order */
    for (size_t i = 0; i < depth; i++)
        sum += fabsf(r[i]);
    if (sum - QROUND_CHUNK > QROUND_EXCESS)
        return 0;
    if (sum > QROUND_CHUNK) {
        found = 1;
        if (wanted)
            qround_shrink(x, r, h, depth, sum - QROUND_CHUNK);
    }
    return found;
}

PCX_INLINE void qround_row(const pcx_qround_args *p, size_t row, float *x, float *r)
{
    const size_t depth = p->depth, count = p->chunks * depth;
    const float *w = p->w + row * count, *h = p->h + min_size(row, p->u - 1) * count;
    int8_t *out = p->out + row * count;
    double best = INFINITY;
    float taken = 0;
    memset(out, 0, count);
    for (size_t f = 0; f < p->count; f++) {
        const float wide = p->full[row] * p->factors[f], s = wide > p->low[row] ? wide : p->low[row];
        for (size_t i = 0; i < count; i++) {
            x[i] = w[i] / s;
            r[i] = (float)round_half_even(round_clamp(x[i], -QROUND_LIMIT, QROUND_LIMIT));
        }
        const double nearest = qround_error(x, r, h, count, s);
        const int wanted = nearest < best;
        int found = 2;
        if (depth > 1)
            for (size_t i = 0; i < count && found; i += depth) {
                const int one = qround_chunk(x + i, r + i, h + i, depth, wanted);
                found = one < found ? one : found;
            }
        if (found && wanted) {
            const double error = found == 2 ? nearest : qround_error(x, r, h, count, s);
            if (error < best) {
                best = error;
                taken = s;
                for (size_t i = 0; i < count; i++)
                    out[i] = (int8_t)(int32_t)r[i];
            }
        }
        if (p->factors[f] >= 1 && (found == 2 || nearest >= 4 * best))
            break;
    }
    p->out_scale[row] = taken;
}

PCX_INLINE void qround_run(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qround_args *p = args;
    float *x = scratch;
    for (size_t row = begin; row < end; row++)
        qround_row(p, row, x, x + p->chunks * p->depth);
}

static size_t qround_units(const void *args) { return ((const pcx_qround_args *)args)->n; }

static size_t qround_scratch(const void *args)
{
    const pcx_qround_args *p = args;
    return 2 * p->chunks * p->depth * sizeof(float);
}

#define QROUND_FOR(isa, attribute)                                                                       \
    attribute static void qround_##isa(const void *args, size_t begin, size_t end, void *scratch)        \
    {                                                                                                    \
        qround_run(args, begin, end, scratch);                                                           \
    }
#if PCX_X86
QROUND_FOR(avx2, __attribute__((target("avx2"))))
QROUND_FOR(scalar, PCX_COLD)
#else
QROUND_FOR(scalar, )
#endif

static const pcx_impl qround_impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, qround_units, qround_avx2, qround_scratch, NULL, NULL, NULL },
#endif
    { "scalar", 0, qround_units, qround_scalar, qround_scratch, NULL, NULL, NULL },
};

const pcx_kernel pcx_qround = {
    "qround", 1,
    "n chunks depth w:f32[n,chunks,depth] u h:f32[u,chunks,depth] full:f32[n] low:f32[n] count factors:f32[count] "
    "out:i8[n,chunks,depth] out_scale:f32[n] where u>=1,depth>=1",
    qround_impls,
};
