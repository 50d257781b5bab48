/* qpixels.c - the border, lines, scalar, and the table. */
#include "qpixels.h"

enum { QPIXELS_CHUNK = 2048 }; /* pixels of a unit, at least */

static size_t qpixels_lines(const pcx_qpixels_args *p) { return ceil_div(QPIXELS_CHUNK, max_size(p->ow, 1)); }

static size_t qpixels_units(const void *args)
{
    const pcx_qpixels_args *p = args;
    return ceil_div(p->b * p->oh, qpixels_lines(p));
}

static qpixels_grid qpixels_grid_make(const pcx_qpixels_args *p)
{
    const float scale = p->scale[0];
    const int32_t zero = p->zero[0];
    qpixels_grid g = { .scale = scale, .zero = zero, .min = round_byte(p->clamp[0]), .max = round_byte(p->clamp[1]),
                       .c = p->c };
    g.fast = scale > 0x1p-40f && scale < 0x1p40f && zero > -(1 << 20) && zero < 1 << 20;
    if (g.fast) {
        g.inverse = 1.0f / scale;
        g.rest = (float)((1.0 - (double)g.inverse * scale) / scale);
        g.low = (float)((double)(g.min - zero) * scale);
        g.high = (float)((double)(g.max - zero) * scale);
    }
    return g;
}

void qpixels_scalar_line(const qpixels_grid *g, const qpixels_line *line, uint8_t *out)
{
    for (size_t j = 0; j < line->n; j++, out += 4) {
        memset(out, 0, 4);
        for (size_t q = 0; q < g->c; q++)
            out[q] = (uint8_t)round_code(line->x[j * line->xw + q * line->xc], g->scale, g->zero, g->min, g->max);
    }
}

/* `count` pixels that are the zero point; returns where the next one is. */
static uint8_t *qpixels_border(const qpixels_grid *g, size_t count, uint8_t *out)
{
    uint8_t four[4] = { 0 };
    memset(four, round_byte(g->zero), g->c);
    for (size_t j = 0; j < count; j++, out += 4)
        memcpy(out, four, 4);
    return out;
}

void qpixels_any(const pcx_qpixels_args *p, size_t begin, size_t end, qpixels_line_fn *line)
{
    const size_t lines = qpixels_lines(p), last = min_size(end * lines, p->b * p->oh);
    const qpixels_grid g = qpixels_grid_make(p);
    for (size_t at = begin * lines; at < last; at++) {
        const size_t y = at % p->oh - p->top; /* above the image it wraps to a huge number */
        uint8_t *out = p->out + at * p->ow * 4;
        if (y >= p->ih) {
            qpixels_border(&g, p->ow, out);
            continue;
        }
        const qpixels_line of = { p->x + at / p->oh * p->xb + y * p->xh, p->xc, p->xw, p->iw };
        out = qpixels_border(&g, p->left, out);
        line(&g, &of, out);
        qpixels_border(&g, p->ow - p->left - p->iw, out + 4 * p->iw);
    }
}

static void qpixels_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qpixels_any(args, begin, end, qpixels_scalar_line);
}

static const pcx_impl qpixels_impls[] = {
#if PCX_X86
    { "avx512", PCX_AVX2 | PCX_AVX512, qpixels_units, qpixels_avx512, NULL, NULL, NULL, NULL },
    { "avx2", PCX_AVX2, qpixels_units, qpixels_avx2, NULL, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, qpixels_units, qpixels_neon, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, qpixels_units, qpixels_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_qpixels = {
    "qpixels", 1,
    "b xb c xc ih xh iw xw x:f32[b:xb,c:xc,ih:xh,iw:xw] scale:f32[1] zero:i32[1] clamp:i32[2] top left "
    "oh ow out:u8[b,oh,ow,4] where c<5,top+ih<=oh,left+iw<=ow",
    qpixels_impls,
};
