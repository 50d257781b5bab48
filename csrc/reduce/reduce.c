/*
 * reduce.c - loops, compiled once for each ISA.
 *
 * Every result is made of lanes that go down the reduced axis side by side: where inner is 1, REDUCE_LANES
 * neighbours of the axis, joined in a tree at the end; otherwise neighbours of the inner axis.
 */
#include "../common/act.h"

#include <math.h>

enum { REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_L1, REDUCE_L2, REDUCE_SUMSQUARE,
       REDUCE_LOGSUM, REDUCE_LOGSUMEXP };
enum { REDUCE_LANES = 64, REDUCE_BLOCK = 32, REDUCE_LEVELS = 60 };

PCX_INLINE float reduce_join(float a, float b, size_t mode)
{
    if (mode == REDUCE_MAX)
        return b > a || b != b ? b : a;
    if (mode == REDUCE_MIN)
        return b < a || b != b ? b : a;
    return mode == REDUCE_PROD ? a * b : a + b;
}

PCX_INLINE float reduce_term(float x, float shift, size_t mode)
{
    if (mode == REDUCE_L1)
        return fabsf(x);
    if (mode == REDUCE_L2 || mode == REDUCE_SUMSQUARE)
        return x * x;
    return mode == REDUCE_LOGSUMEXP ? act_exp(x - shift) : x;
}

PCX_INLINE float reduce_identity(size_t mode)
{
    return mode == REDUCE_MAX ? -INFINITY : mode == REDUCE_MIN ? INFINITY : mode == REDUCE_PROD ? 1.0f : 0.0f;
}

PCX_INLINE float reduce_finish(float total, float r, float shift, float top, size_t mode)
{
    switch (mode) {
    case REDUCE_MEAN: return total / r;
    case REDUCE_L2: return sqrtf(total);
    case REDUCE_LOGSUM: return logf(total);
    case REDUCE_LOGSUMEXP: return top == shift ? logf(total) + shift : top;
    default: return total;
    }
}

/*
 * out[j] = the join of x[i * stride + j] over i < r, for j < n <= REDUCE_LANES.  Blocks are joined as a
 * binary counter counts: level l holds 2^l of them.
 */
PCX_INLINE void reduce_lanes(const float *x, size_t r, size_t stride, size_t n, const float *shift, float *out,
                             size_t mode)
{
    float level[REDUCE_LEVELS][REDUCE_LANES], t[REDUCE_LANES];
    size_t blocks = 0;
    for (size_t i = 0; i < r; blocks++) {
        const size_t stop = min_size(i + REDUCE_BLOCK, r);
        for (size_t j = 0; j < n; j++)
            t[j] = reduce_identity(mode);
        for (; i < stop; i++)
            for (size_t j = 0; j < n; j++)
                t[j] = reduce_join(t[j], reduce_term(x[i * stride + j], shift[j], mode), mode);
        size_t l = 0;
        for (; blocks >> l & 1; l++)
            for (size_t j = 0; j < n; j++)
                t[j] = reduce_join(level[l][j], t[j], mode);
        memcpy(level[l], t, n * sizeof *t);
    }
    for (size_t j = 0; j < n; j++)
        t[j] = reduce_identity(mode);
    for (size_t l = 0; blocks >> l; l++)
        if (blocks >> l & 1)
            for (size_t j = 0; j < n; j++)
                t[j] = reduce_join(level[l][j], t[j], mode);
    memcpy(out, t, n * sizeof *t);
}

/* A contiguous row to one number. */
PCX_INLINE float reduce_row(const float *x, size_t r, float shift, size_t mode)
{
    float t[REDUCE_LANES], shifts[REDUCE_LANES];
    for (size_t j = 0; j < REDUCE_LANES; j++)
        shifts[j] = shift;
    const size_t whole = r / REDUCE_LANES * REDUCE_LANES;
    reduce_lanes(x, r / REDUCE_LANES, REDUCE_LANES, REDUCE_LANES, shifts, t, mode);
    for (size_t j = 0; j < r - whole; j++)
        t[j] = reduce_join(t[j], reduce_term(x[whole + j], shift, mode), mode);
    for (size_t w = REDUCE_LANES / 2; w; w /= 2)
        for (size_t j = 0; j < w; j++)
            t[j] = reduce_join(t[j], t[j + w], mode);
    return t[0];
}

/* What logsumexp subtracts: the max, if it is finite. */
PCX_INLINE float reduce_shift(float top) { return top - top == 0 ? top : 0; }

PCX_INLINE void reduce_mode(const pcx_reduce_args *p, size_t begin, size_t end, size_t mode)
{
    const size_t strips = ceil_div(p->inner, REDUCE_LANES);
    for (size_t unit = begin; unit < end; unit++) {
        if (p->inner == 1) {
            const float *x = p->x + unit * p->r;
            const float top = mode == REDUCE_LOGSUMEXP ? reduce_row(x, p->r, 0, REDUCE_MAX) : 0;
            const float shift = reduce_shift(top);
            p->out[unit] = reduce_finish(reduce_row(x, p->r, shift, mode), (float)p->r, shift, top, mode);
            continue;
        }
        const size_t o = unit / strips, i = unit % strips * REDUCE_LANES, n = min_size(p->inner - i, REDUCE_LANES);
        const float *x = p->x + o * p->r * p->inner + i;
        float top[REDUCE_LANES] = { 0 }, shift[REDUCE_LANES] = { 0 }, t[REDUCE_LANES];
        if (mode == REDUCE_LOGSUMEXP) {
            reduce_lanes(x, p->r, p->inner, n, shift, top, REDUCE_MAX);
            for (size_t j = 0; j < n; j++)
                shift[j] = reduce_shift(top[j]);
        }
        if (n == REDUCE_LANES)
            reduce_lanes(x, p->r, p->inner, REDUCE_LANES, shift, t, mode);
        else
            reduce_lanes(x, p->r, p->inner, n, shift, t, mode);
        for (size_t j = 0; j < n; j++)
            p->out[o * p->inner + i + j] = reduce_finish(t[j], (float)p->r, shift[j], top[j], mode);
    }
}

PCX_INLINE void reduce_run(const void *args, size_t begin, size_t end)
{
    const pcx_reduce_args *p = args;
    switch (p->mode) {
    case REDUCE_SUM: reduce_mode(p, begin, end, REDUCE_SUM); break;
    case REDUCE_MEAN: reduce_mode(p, begin, end, REDUCE_MEAN); break;
    case REDUCE_MAX: reduce_mode(p, begin, end, REDUCE_MAX); break;
    case REDUCE_MIN: reduce_mode(p, begin, end, REDUCE_MIN); break;
    case REDUCE_PROD: reduce_mode(p, begin, end, REDUCE_PROD); break;
    case REDUCE_L1: reduce_mode(p, begin, end, REDUCE_L1); break;
    case REDUCE_L2: reduce_mode(p, begin, end, REDUCE_L2); break;
    case REDUCE_SUMSQUARE: reduce_mode(p, begin, end, REDUCE_SUMSQUARE); break;
    case REDUCE_LOGSUM: reduce_mode(p, begin, end, REDUCE_LOGSUM); break;
    default: reduce_mode(p, begin, end, REDUCE_LOGSUMEXP);
    }
}

static size_t reduce_units(const void *args)
{
    const pcx_reduce_args *p = args;
    return p->outer * ceil_div(p->inner, REDUCE_LANES);
}

PCX_LOOPS(reduce)

const pcx_kernel pcx_reduce = {
    "reduce", 1,
    "outer r inner x:f32[outer,r,inner] mode out:f32[outer,inner] where mode<10",
    reduce_impls,
};
