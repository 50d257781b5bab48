/* softmax.c - loops, compiled once for each ISA, and the table.  On x86 long rows have files of their own. */
#include "softmax.h"

enum { SOFTMAX_SHORT = 7, SOFTMAX_STEP = 8 };

/* Rows of at most SOFTMAX_SHORT elements are computed side by side, SOFTMAX_LANES of them, turned. */
PCX_INLINE int softmax_is_short(const pcx_softmax_args *p) { return p->inner == 1 && p->r <= SOFTMAX_SHORT; }

PCX_INLINE void softmax_row(const float *x, size_t r, int log, float *out)
{
    const size_t whole = r / SOFTMAX_LANES * SOFTMAX_LANES;
    float t[SOFTMAX_LANES], rest[SOFTMAX_LANES];
    for (size_t j = 0; j < SOFTMAX_LANES; j++)
        t[j] = rest[j] = -INFINITY;
    memcpy(rest, x + whole, (r - whole) * sizeof *rest);
    for (size_t i = 0; i < r; i += SOFTMAX_LANES) {
        const float *from = i < whole ? x + i : rest;
        for (size_t j = 0; j < SOFTMAX_LANES; j++)
            t[j] = from[j] > t[j] ? from[j] : t[j];
    }
    for (size_t w = SOFTMAX_LANES / 2; w; w /= 2)
        for (size_t j = 0; j < w; j++)
            t[j] = t[j + w] > t[j] ? t[j + w] : t[j];
    const float top = t[0];

    for (size_t j = 0; j < SOFTMAX_LANES; j++)
        t[j] = 0;
    for (size_t i = 0; i < r; i += SOFTMAX_LANES) {
        const float *from = i < whole ? x + i : rest; /* beyond the row e^-inf = 0 is added, if anything */
        const size_t lanes = min_size(SOFTMAX_LANES, round_up(r - i, SOFTMAX_STEP));
        float e[SOFTMAX_LANES];
        for (size_t k = 0; k < lanes; k += SOFTMAX_STEP)
            for (size_t j = k; j < k + SOFTMAX_STEP; j++) {
                e[j] = act_exp_fma(from[j] - top, !PCX_X86);
                t[j] += e[j];
            }
        if (!log)
            memcpy(out + i, e, min_size(r - i, SOFTMAX_LANES) * sizeof *e);
    }
    for (size_t w = SOFTMAX_LANES / 2; w; w /= 2)
        for (size_t j = 0; j < w; j++)
            t[j] += t[j + w];
    const float total = t[0], part = 1 / total;

    if (log) {
        const float logarithm = logf(total);
        PCX_IVDEP
        for (size_t i = 0; i < r; i++)
            out[i] = x[i] - top - logarithm;
    } else {
        for (size_t i = 0; i < r; i++)
            out[i] *= part;
    }
}

PCX_INLINE void softmax_scalar_rows(const float *x, size_t rows, size_t r, int log, float *out)
{
    for (size_t i = 0; i < rows; i++)
        softmax_row(x + i * r, r, log, out + i * r);
}

/* n <= SOFTMAX_LANES neighbours of the inner axis, each over its r elements `stride` apart; out may be x. */
PCX_INLINE void softmax_columns(const float *x, size_t r, size_t stride, size_t n, int log, float *out)
{
    float top[SOFTMAX_LANES], total[SOFTMAX_LANES];
    double sum[SOFTMAX_LANES];
    for (size_t j = 0; j < SOFTMAX_LANES; j++) {
        top[j] = -INFINITY;
        sum[j] = 0;
    }
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < n; j++)
            top[j] = x[i * stride + j] > top[j] ? x[i * stride + j] : top[j];
    for (size_t i = 0; i < r; i++)
        PCX_IVDEP
        for (size_t j = 0; j < n; j++) {
            const float shifted = x[i * stride + j] - top[j], e = act_exp(shifted);
            sum[j] += e;
            out[i * stride + j] = log ? shifted : e;
        }
    for (size_t j = 0; j < n; j++)
        total[j] = log ? logf((float)sum[j]) : (float)sum[j];
    for (size_t i = 0; i < r; i++)
        PCX_IVDEP
        for (size_t j = 0; j < n; j++)
            out[i * stride + j] = log ? out[i * stride + j] - total[j] : out[i * stride + j] / total[j];
}

/* to[i * LANES + j] = x[j * r + i] for `rows` rows of r elements, or back. */
PCX_INLINE void softmax_turn(const float *x, size_t rows, size_t r, float *to)
{
    for (size_t j = 0; j < rows; j++)
        for (size_t i = 0; i < r; i++)
            to[i * SOFTMAX_LANES + j] = x[j * r + i];
}

PCX_INLINE void softmax_turn_back(const float *turned, size_t rows, size_t r, float *out)
{
    for (size_t j = 0; j < rows; j++)
        for (size_t i = 0; i < r; i++)
            out[j * r + i] = turned[i * SOFTMAX_LANES + j];
}

/* Units of work: strips of the inner axis, of short rows SOFTMAX_LANES rows, else rows. */
PCX_INLINE void softmax_run(const void *args, size_t begin, size_t end, softmax_rows_fn *by_rows)
{
    const pcx_softmax_args *p = args;
    const int is_short = softmax_is_short(p), log = p->log != 0;
    const size_t strips = is_short ? 1 : ceil_div(p->inner, SOFTMAX_LANES), lines = is_short ? SOFTMAX_LANES : 1;
    float turned[SOFTMAX_SHORT * SOFTMAX_LANES] = { 0 };
    if (p->inner == 1 && !is_short) {
        by_rows(p->x + begin * p->r, end - begin, p->r, log, p->out + begin * p->r);
        return;
    }
    for (size_t unit = begin; unit < end; unit++) {
        const size_t outer = unit / strips * lines, i = unit % strips * SOFTMAX_LANES;
        const size_t at = outer * p->r * p->inner + i, rows = min_size(p->outer - outer, lines);
        if (is_short)
            softmax_turn(p->x + at, rows, p->r, turned);
        softmax_columns(is_short ? turned : p->x + at, p->r, is_short ? SOFTMAX_LANES : p->inner,
                        is_short ? SOFTMAX_LANES : min_size(p->inner - i, SOFTMAX_LANES), log,
                        is_short ? turned : p->out + at);
        if (is_short)
            softmax_turn_back(turned, rows, p->r, p->out + at);
    }
}

static size_t softmax_units(const void *args)
{
    const pcx_softmax_args *p = args;
    return softmax_is_short(p) ? ceil_div(p->outer, SOFTMAX_LANES) : p->outer * ceil_div(p->inner, SOFTMAX_LANES);
}

#define SOFTMAX_FOR(isa, attribute)                                                                    \
    attribute static void softmax_##isa(const void *args, size_t begin, size_t end, void *scratch)     \
    {                                                                                                  \
        (void)scratch;                                                                                 \
        softmax_run(args, begin, end, softmax_##isa##_rows);                                           \
    }
#if PCX_X86
SOFTMAX_FOR(avx512, __attribute__((target(PCX_TARGET_AVX512))))
SOFTMAX_FOR(avx2, __attribute__((target("avx2,fma"))))
SOFTMAX_FOR(scalar, PCX_COLD)
#else
SOFTMAX_FOR(scalar, )
#endif

static const pcx_impl softmax_impls[] = {
#if PCX_X86
    PCX_LOOPS_ROW(softmax, avx512, PCX_AVX2 | PCX_AVX512),
    PCX_LOOPS_ROW(softmax, avx2, PCX_AVX2),
#endif
    PCX_LOOPS_ROW(softmax, scalar, 0),
};

const pcx_kernel pcx_softmax = {
    "softmax", 1,
    "outer r inner x:f32[outer,r,inner] log out:f32[outer,r,inner]",
    softmax_impls,
};
