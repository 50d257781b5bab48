/*
 * normalize.c - loops, compiled once for each ISA.
 *
 * With few channels scale and shift are repeated to a period of some rows, so that loops run over whole
 * periods as if those were channels.
 */
#include "../common/pcx.h"

enum { NORMALIZE_PERIOD = 256, NORMALIZE_CHUNK = 4096 };

/* Rows of a unit: whole periods. */
PCX_INLINE size_t normalize_rows(size_t c)
{
    const size_t repeat = c && c < NORMALIZE_PERIOD ? NORMALIZE_PERIOD / c : 1, period = max_size(repeat * c, 1);
    return repeat * max_size(NORMALIZE_CHUNK / period, 1);
}

PCX_INLINE void normalize_row(const uint8_t *x, size_t n, const float *scale, const float *shift, float *out)
{
    PCX_IVDEP
    for (size_t j = 0; j < n; j++)
        out[j] = (float)x[j] * scale[j] + shift[j];
}

PCX_INLINE void normalize_run(const void *args, size_t begin, size_t end)
{
    const pcx_normalize_args *p = args;
    const size_t rows = normalize_rows(p->c), first = begin * rows * p->c;
    const size_t count = min_size(end * rows, p->m) * p->c - first;
    const uint8_t *x = p->x + first;
    float *out = p->out + first;
    float scale[NORMALIZE_PERIOD], shift[NORMALIZE_PERIOD];
    size_t period = p->c;
    const float *by = p->scale, *plus = p->shift;
    if (p->c && p->c < NORMALIZE_PERIOD) {
        period = NORMALIZE_PERIOD / p->c * p->c;
        for (size_t j = 0; j < period; j++) {
            scale[j] = p->scale[j % p->c];
            shift[j] = p->shift[j % p->c];
        }
        by = scale;
        plus = shift;
    }
    for (size_t i = 0; i < count; i += period)
        normalize_row(x + i, min_size(period, count - i), by, plus, out + i);
}

static size_t normalize_units(const void *args)
{
    const pcx_normalize_args *p = args;
    return ceil_div(p->m, normalize_rows(p->c));
}

PCX_LOOPS_512(normalize)

const pcx_kernel pcx_normalize = {
    "normalize", 1,
    "m c x:u8[m,c] scale:f32[c] shift:f32[c] out:f32[m,c]",
    normalize_impls,
};
