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
    if (mode == REDUCE_SUMSQUARE)
        return x * x;
    return mode == REDUCE_LOGSUMEXP ? act_exp(x - shift) : x;
}

PCX_INLINE float reduce_identity(size_t mode)
{
    return mode == REDUCE_MAX ? -INFINITY : mode == REDUCE_MIN ? INFINITY : mode == REDUCE_PROD ? 1.0f : 0.0f;
}

/* t[j] joins x[i * stride + j] over i < r, for j < n; n is constant where it can be. */
PCX_INLINE void reduce_block(const float *x, size_t r, size_t stride, size_t n, const float *shift, float *t,
                             size_t mode)
{
    for (size_t i = 0; i < r; i++, x += stride)
        for (size_t j = 0; j < n; j++)
            t[j] = reduce_join(t[j], reduce_term(x[j], shift[j], mode), mode);
}

/*
 * out[j] = the join of x[i * stride + j] over i < r, for j < n <= REDUCE_LANES.  Blocks are joined as a
 * binary counter counts: level l holds 2^l of them.  Lanes beyond n hold nothing.
 */
PCX_INLINE void reduce_lanes(const float *x, size_t r, size_t stride, size_t n, const float *shift, float *out,
                             size_t mode)
{
    float level[REDUCE_LEVELS][REDUCE_LANES], t[REDUCE_LANES];
    size_t blocks = 0;
    for (size_t i = 0; i < r; i += REDUCE_BLOCK, blocks++) {
        for (size_t j = 0; j < REDUCE_LANES; j++)
            t[j] = reduce_identity(mode);
        if (n == REDUCE_LANES)
            reduce_block(x + i * stride, min_size(r - i, REDUCE_BLOCK), stride, REDUCE_LANES, shift, t, mode);
        else
            reduce_block(x + i * stride, min_size(r - i, REDUCE_BLOCK), stride, n, shift, t, mode);
        size_t l = 0;
        for (; blocks >> l & 1; l++)
            for (size_t j = 0; j < REDUCE_LANES; j++)
                t[j] = reduce_join(level[l][j], t[j], mode);
        memcpy(level[l], t, sizeof t);
    }
    for (size_t j = 0; j < REDUCE_LANES; j++)
        t[j] = reduce_identity(mode);
    for (size_t l = 0; blocks >> l; l++)
        if (blocks >> l & 1)
            for (size_t j = 0; j < REDUCE_LANES; j++)
                t[j] = reduce_join(level[l][j], t[j], mode);
    memcpy(out, t, sizeof t);
}

/* All lanes of a contiguous row, and its `rest` last elements, to t[0]. */
PCX_INLINE void reduce_tree(float *t, const float *last, size_t rest, float shift, size_t mode)
{
    for (size_t j = 0; j < rest; j++)
        t[j] = reduce_join(t[j], reduce_term(last[j], shift, mode), mode);
    for (size_t w = REDUCE_LANES / 2; w; w /= 2)
        for (size_t j = 0; j < w; j++)
            t[j] = reduce_join(t[j], t[j + w], mode);
}

/* What logsumexp subtracts: the max, if it is finite. */
PCX_INLINE float reduce_shift(float top) { return top - top == 0 ? top : 0; }

/* n results from their joins: `joined` is the mode whose terms these are, `mode` the one asked for. */
PCX_INLINE void reduce_finish(const float *t, size_t n, const float *shift, const float *top, size_t r, size_t joined,
                              size_t mode, float *out)
{
    if (joined == REDUCE_LOGSUMEXP)
        for (size_t j = 0; j < n; j++)
            out[j] = top[j] == shift[j] ? logf(t[j]) + shift[j] : top[j];
    else if (joined == REDUCE_SUM && mode == REDUCE_MEAN)
        for (size_t j = 0; j < n; j++)
            out[j] = t[j] / (float)r;
    else if (joined == REDUCE_SUM && mode == REDUCE_LOGSUM)
        for (size_t j = 0; j < n; j++)
            out[j] = logf(t[j]);
    else if (joined == REDUCE_SUMSQUARE && mode == REDUCE_L2)
        for (size_t j = 0; j < n; j++)
            out[j] = sqrtf(t[j]);
    else
        memcpy(out, t, n * sizeof *t);
}

PCX_INLINE void reduce_units_of(const pcx_reduce_args *p, size_t begin, size_t end, size_t joined)
{
    const int row = p->inner == 1;
    const size_t strips = ceil_div(p->inner, REDUCE_LANES);
    const size_t r = row ? p->r / REDUCE_LANES : p->r, stride = row ? REDUCE_LANES : p->inner;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t o = unit / strips, i = unit % strips * REDUCE_LANES, n = min_size(p->inner - i, REDUCE_LANES);
        const size_t lanes = row ? REDUCE_LANES : n;
        const float *x = p->x + o * p->r * p->inner + i, *rest = row ? x + r * REDUCE_LANES : x;
        float top[REDUCE_LANES] = { 0 }, shift[REDUCE_LANES] = { 0 }, t[REDUCE_LANES];
        if (joined == REDUCE_LOGSUMEXP) {
            reduce_lanes(x, r, stride, lanes, shift, top, REDUCE_MAX);
            if (row)
                reduce_tree(top, rest, p->r % REDUCE_LANES, 0, REDUCE_MAX);
            for (size_t j = 0; j < lanes; j++)
                shift[j] = reduce_shift(top[row ? 0 : j]);
        }
        reduce_lanes(x, r, stride, lanes, shift, t, joined);
        if (row)
            reduce_tree(t, rest, p->r % REDUCE_LANES, shift[0], joined);
        reduce_finish(t, n, shift, top, p->r, joined, p->mode, p->out + o * p->inner + i);
    }
}

PCX_INLINE void reduce_run(const void *args, size_t begin, size_t end)
{
    const pcx_reduce_args *p = args;
    switch (p->mode) {
    case REDUCE_SUM:
    case REDUCE_MEAN:
    case REDUCE_LOGSUM: reduce_units_of(p, begin, end, REDUCE_SUM); break;
    case REDUCE_MAX: reduce_units_of(p, begin, end, REDUCE_MAX); break;
    case REDUCE_MIN: reduce_units_of(p, begin, end, REDUCE_MIN); break;
    case REDUCE_PROD: reduce_units_of(p, begin, end, REDUCE_PROD); break;
    case REDUCE_L1: reduce_units_of(p, begin, end, REDUCE_L1); break;
    case REDUCE_L2:
    case REDUCE_SUMSQUARE: reduce_units_of(p, begin, end, REDUCE_SUMSQUARE); break;
    default: reduce_units_of(p, begin, end, REDUCE_LOGSUMEXP);
    }
}

static size_t reduce_units(const void *args)
{
    const pcx_reduce_args *p = args;
    return p->outer * ceil_div(p->inner, REDUCE_LANES);
}

PCX_LOOPS_512(reduce)

const pcx_kernel pcx_reduce = {
    "reduce", 1,
    "outer r inner x:f32[outer,r,inner] mode out:f32[outer,inner] where mode<10",
    reduce_impls,
};
