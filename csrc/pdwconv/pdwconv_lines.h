/*
 * pdwconv_lines.h - windows of 3 x 3 and 5 x 5 at strides 1 and 2.  Lines of a channel are copied into scratch, padded
 * with zeros, so that no window needs a check; at stride 2 even and odd columns are separated, so that neighbouring
 * outputs read neighbouring inputs.  Four lines of output are computed at a time from each vector of input.
 *
 * A template for vectors of floats, included once in a file, which defines
 *
 *   PDWCONV(name)          names of the functions; put_line and put_line_halves are the file's
 *   PDWCONV_LANES          floats of a vector
 *   PDWCONV_VECTOR, PDWCONV_LOAD, PDWCONV_STORE, PDWCONV_BROADCAST, PDWCONV_ZERO, PDWCONV_MIN, PDWCONV_MAX   vector of floats
 *   PDWCONV_WEIGHT, PDWCONV_EACH, PDWCONV_FMA   a weight, what loads it, and (vector, weight, sum)
 *   PDWCONV_SOME, PDWCONV_FIRST, PDWCONV_STORE_SOME   the first lanes of a vector, so many of them, and a store of those
 *
 * and makes PDWCONV(run) and PDWCONV(scratch).
 */
enum {
    LANES = PDWCONV_LANES,
    LINES = 4,
    SCRATCH = 6144 /* floats of scratch for lines: with the output, no more than an L1 cache */
};

/* Scratch: `lines` lines of input, `pitch` floats apart, odd columns (at stride 2) `odd` after even ones. */
typedef struct {
    size_t odd, pitch, lines, rows; /* rows of output that the lines allow */
} layout;

static int PDWCONV(is_fast)(const pcx_pdwconv_args *p)
{
    return p->kh == p->kw && p->sh == p->sw && (p->kh == 3 || p->kh == 5) && p->sh <= 2 && p->pl < p->kh &&
           p->pt < p->kh && p->act <= PCX_ACT_CLIP;
}

static layout PDWCONV(layout_of)(const pcx_pdwconv_args *p)
{
    /* Columns: those of the image and left of it, and those that the last vector of a line reads. */
    const size_t reach = max_size(p->iw + p->pl, (max_size(p->ow, LANES) - 1) * p->sw + p->kw);
    layout l = { .odd = round_up(ceil_div(reach, p->sw) + LANES, LANES) };
    l.pitch = l.odd * p->sw;
    const size_t fit = max_size(SCRATCH / l.pitch, p->kh + (LINES - 1) * p->sh);
    l.rows = min_size(((fit - p->kh) / p->sh + 1) / LINES * LINES, max_size(p->oh, LINES));
    l.lines = (l.rows - 1) * p->sh + p->kh;
    return l;
}

size_t PDWCONV(scratch)(const void *args)
{
    const pcx_pdwconv_args *p = args;
    return PDWCONV(is_fast)(p) ? PDWCONV(layout_of)(p).pitch * PDWCONV(layout_of)(p).lines * sizeof(float)
                                : 0;
}

/* What a channel's lines end with. */
typedef struct {
    PDWCONV_VECTOR bias, low, high;
} ending;

/* `lines` lines of output, ow long, from the lines of scratch at `in`. */
PCX_INLINE void PDWCONV(lines_of)(const int k, const int s, const int lines, const float *in, const layout *l,
                                  const PDWCONV_WEIGHT *w, const ending *e, float *out, size_t ow)
{
    const size_t pitch = l->pitch, odd = l->odd;
    const PDWCONV_SOME some = PDWCONV_FIRST(ow);
    for (size_t x = 0; x < ow; x += LANES) {
        const size_t at = min_size(x, max_size(ow, LANES) - LANES); /* the last vector overlaps the one before */
        PDWCONV_VECTOR sum[LINES];
        PCX_UNROLL
        for (int y = 0; y < lines; y++)
            sum[y] = e->bias;
        PCX_UNROLL
        for (int i = 0; i < (lines - 1) * s + k; i++)
            PCX_UNROLL
            for (int kx = 0; kx < k; kx++) {
                const float *from = in + (size_t)i * pitch + at;
                const PDWCONV_VECTOR v = PDWCONV_LOAD(s == 1 ? from + kx : from + kx % 2 * (ptrdiff_t)odd + kx / 2);
                PCX_UNROLL
                for (int y = 0; y < lines; y++)
                    if (i - y * s >= 0 && i - y * s < k)
                        sum[y] = PDWCONV_FMA(v, w[(i - y * s) * k + kx], sum[y]);
            }
        PCX_UNROLL
        for (int y = 0; y < lines; y++) { /* max and min return their second argument if one is NaN */
            const PDWCONV_VECTOR v = PDWCONV_MIN(e->high, PDWCONV_MAX(e->low, sum[y]));
            if (PCX_LIKELY(ow >= LANES))
                PDWCONV_STORE(out + (size_t)y * ow + at, v);
            else
                PDWCONV_STORE_SOME(out + (size_t)y * ow, some, v);
        }
    }
}

/* Scratch lines of the input of `rows` rows of output from `top` on. */
PCX_INLINE void PDWCONV(take_lines)(const int k, const int s, const pcx_pdwconv_args *p, const float *in,
                                    size_t top, size_t rows, const layout *l, float *to)
{
    for (size_t i = 0; i < (rows - 1) * (size_t)s + (size_t)k; i++, to += l->pitch) {
        const size_t y = top * (size_t)s + i - p->pt; /* huge above the image */
        if (y >= p->ih) {
            if (l->rows < p->oh) /* else it is zero still */
                memset(to, 0, l->pitch * sizeof *to);
        } else if (s == 1)
            PDWCONV(put_line)(in + y * p->iw, p->iw, to, p->pl);
        else
            PDWCONV(put_line_halves)(in + y * p->iw, p->iw, to, to + l->odd, p->pl);
    }
}

/* `rows` rows of output, from `top` on, of channel c, from scratch lines. */
PCX_INLINE void PDWCONV(make_rows)(const int k, const int s, const pcx_pdwconv_args *p, size_t c, size_t top,
                                   size_t rows, const layout *l, const float *from, ending e)
{
    float *out = p->out + c * p->ldo + top * p->ow;
    PDWCONV_WEIGHT w[25];
    PCX_UNROLL
    for (int i = 0; i < k * k; i++)
        w[i] = PDWCONV_EACH(p->w + c * (size_t)(k * k) + i);
    e.bias = p->bias ? PDWCONV_BROADCAST(p->bias + c) : PDWCONV_ZERO();
    for (size_t y = 0; y < rows; y += LINES) {
        const size_t at = min_size(y, max_size(rows, LINES) - LINES); /* the last lines overlap those before */
        const float *in = from + at * (size_t)s * l->pitch;
        if (PCX_LIKELY(rows >= LINES))
            PDWCONV(lines_of)(k, s, LINES, in, l, w, &e, out + at * p->ow, p->ow);
        else
            for (size_t each = 0; each < rows; each++)
                PDWCONV(lines_of)(k, s, 1, in + each * (size_t)s * l->pitch, l, w, &e, out + each * p->ow, p->ow);
    }
}

/* The channels [begin, end). */
PCX_INLINE void PDWCONV(channels)(const int k, const int s, const pcx_pdwconv_args *p, size_t begin, size_t end,
                                      float *scratch)
{
    const layout l = PDWCONV(layout_of)(p);
    ending e = { .bias = PDWCONV_ZERO() };
    float low, high;
    act_bounds(p->act, p->act_params, &low, &high);
    e.low = PDWCONV_BROADCAST(&low);
    e.high = PDWCONV_BROADCAST(&high);
    memset(scratch, 0, l.pitch * l.lines * sizeof *scratch); /* what lies beside the image stays so */
    for (size_t c = begin; c < end; c++)
        for (size_t top = 0; top < p->oh; top += l.rows) {
            const size_t rows = min_size(l.rows, p->oh - top);
            PDWCONV(take_lines)(k, s, p, p->x + c * p->ldx, top, rows, &l, scratch);
            PDWCONV(make_rows)(k, s, p, c, top, rows, &l, scratch, e);
        }
}

#define PLANES(k, s) \
    PCX_NOINLINE static void PDWCONV(channels_##k##_##s)(const pcx_pdwconv_args *p, size_t begin, size_t end, \
                                                             float *scratch) \
    { \
        PDWCONV(channels)(k, s, p, begin, end, scratch); \
    }
PLANES(3, 1) PLANES(3, 2) PLANES(5, 1) PLANES(5, 2)
#undef PLANES

void PDWCONV(run)(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_pdwconv_args *p = args;
    if (!PDWCONV(is_fast)(p))
        pdwconv_plain(p, begin, end);
    else if (p->kh == 3)
        (p->sh == 1 ? PDWCONV(channels_3_1) : PDWCONV(channels_3_2))(p, begin, end, scratch);
    else
        (p->sh == 1 ? PDWCONV(channels_5_1) : PDWCONV(channels_5_2))(p, begin, end, scratch);
}
