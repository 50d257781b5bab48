/* qdwconv_quads.c - see qdwconv_quads.h. */
#include "qdwconv_quads.h"

static int qdwconv_quads_square(size_t kh, size_t kw) { return kh == kw && (kh == 3 || kh == 5); }

int qdwconv_quads_take(const void *args)
{
    const pcx_qdwconv_args *p = args;
    return qdwconv_quads_square(p->kh, p->kw) && p->dw == 1 && (p->sw == 1 || p->sw == 2) && p->ot == PCX_U8 &&
           !p->wzp && p->tail.scale && p->tail.output.clamp;
}

size_t qdwconv_quads_bytes(size_t kh, size_t kw, size_t c, size_t widest)
{
    return qdwconv_quads_square(kh, kw) ? qdwconv_quads_groups(c, widest) * qdwconv_quads_count(kh) * 4 * widest : 0;
}

/* The tap that is byte i of a quad, or k * k: none. */
static size_t qdwconv_quads_tap(size_t k, size_t quad, size_t i)
{
    if (k == 3) {
        const size_t ky = i - quad / 3; /* wraps */
        return ky < 3 ? ky * 3 + quad % 3 : 9;
    }
    if (quad < 5)
        return i * 5 + quad;
    return quad == 5 ? 20 + i : i ? 25 : 24;
}

/* One quad of all channels of a group: [4 v][widest / 16 lanes][4 channels][4 taps]. */
static void qdwconv_quads_put(size_t k, size_t quad, const qdwconv_quad_span *s, size_t c, const int8_t *w,
                              size_t widest, int8_t *to)
{
    for (size_t v = 0; v < 4; v++)
        for (size_t lane = 0; lane < widest / QUAD_LANE; lane++)
            for (size_t x = 0; x < 16; x++, to++) {
                const size_t channel = s->j + lane * QUAD_LANE % s->channels + 4 * v + x / 4;
                const size_t tap = qdwconv_quads_tap(k, quad, x % 4);
                *to = channel < c && tap < k * k ? w[tap * c + channel] : 0;
            }
}

void qdwconv_quads_make(size_t kh, size_t kw, size_t c, const int8_t *w, size_t widest, void *made)
{
    int8_t *to = made;
    if (!qdwconv_quads_square(kh, kw))
        return;
    for (size_t done = 0; done < c;) {
        const qdwconv_quad_span s = qdwconv_quads_next(done, c, widest);
        for (size_t quad = 0; quad < qdwconv_quads_count(kh); quad++, to += 4 * widest)
            qdwconv_quads_put(kh, quad, &s, c, w, widest, to);
        done = s.j + s.channels;
    }
}
