/*
 * pdwconv_avx2.c - windows of 3 x 3 and 5 x 5 at strides 1 and 2.  Lines of a channel are copied into scratch, padded
 * with zeros, so that no window needs a check; at stride 2 even and odd columns are separated, so that neighbouring
 * outputs read neighbouring inputs.  Four lines of output are computed at a time from each vector of input.
 */
#include "pdwconv.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

enum {
    LANES = 8,
    LINES = 4,
    SCRATCH = 6144 /* floats of scratch for lines: with the output, no more than an L1 cache */
};

/* Scratch: `lines` lines of input, `pitch` floats apart, odd columns (at stride 2) `odd` after even ones. */
typedef struct {
    size_t odd, pitch, lines, rows; /* rows of output that the lines allow */
} layout;

static int pdwconv_avx2_is_fast(const pcx_pdwconv_args *p)
{
    return p->kh == p->kw && p->sh == p->sw && (p->kh == 3 || p->kh == 5) && p->sh <= 2 && p->pl < p->kh &&
           p->pt < p->kh && p->act <= PCX_ACT_CLIP;
}

static layout pdwconv_avx2_layout_of(const pcx_pdwconv_args *p)
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

size_t pdwconv_avx2_scratch(const void *args)
{
    const pcx_pdwconv_args *p = args;
    return pdwconv_avx2_is_fast(p) ? pdwconv_avx2_layout_of(p).pitch * pdwconv_avx2_layout_of(p).lines * sizeof(float)
                                   : 0;
}

/* Lanes below `count`. */
PCX_INLINE __m256i pdwconv_avx2_first_lanes(size_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)min_size(count, LANES)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Eight numbers at `in`, zero from `left` on. */
PCX_INLINE __m256 pdwconv_avx2_load_some(const float *in, size_t left)
{
    return PCX_LIKELY(left >= LANES) ? _mm256_loadu_ps(in) : _mm256_maskload_ps(in, pdwconv_avx2_first_lanes(left));
}

/* A line of n numbers between the zeros of scratch; past its end there are zeros, too. */
PCX_INLINE void pdwconv_avx2_put_line(const float *in, size_t n, float *to, size_t pl)
{
    for (size_t i = 0; i < n; i += LANES)
        _mm256_storeu_ps(to + pl + i, pdwconv_avx2_load_some(in + i, n - i));
}

/* The same, columns of padded positions 0, 2, 4 ... to `even`, and the others. */
PCX_INLINE void pdwconv_avx2_put_line_halves(const float *in, size_t n, float *even, float *odd, size_t pl)
{
    float *const to[2] = { pl % 2 ? odd : even, pl % 2 ? even : odd }; /* where in[0] and in[1] go */
    const size_t at[2] = { pl / 2, (pl + 1) / 2 };
    for (size_t i = 0; i < n; i += 2 * LANES) {
        const __m256 a = pdwconv_avx2_load_some(in + i, n - i);
        const __m256 b = n - i > LANES ? pdwconv_avx2_load_some(in + i + LANES, n - i - LANES) : _mm256_setzero_ps();
        const __m256 x = _mm256_shuffle_ps(a, b, 0x88), y = _mm256_shuffle_ps(a, b, 0xdd);
        const __m256d first = _mm256_castsi256_pd(_mm256_permute4x64_epi64(_mm256_castps_si256(x), 0xd8));
        const __m256d second = _mm256_castsi256_pd(_mm256_permute4x64_epi64(_mm256_castps_si256(y), 0xd8));
        _mm256_storeu_ps(to[0] + at[0] + i / 2, _mm256_castpd_ps(first));
        _mm256_storeu_ps(to[1] + at[1] + i / 2, _mm256_castpd_ps(second));
    }
}

/* What a channel's lines end with. */
typedef struct {
    __m256 bias, low, high;
} ending;

/* `lines` lines of output, ow long, from the lines of scratch at `in`. */
PCX_INLINE void pdwconv_avx2_lines_of(const int k, const int s, const int lines, const float *in, const layout *l,
                                      const __m256 *w, const ending *e, float *out, size_t ow)
{
    const size_t pitch = l->pitch, odd = l->odd;
    const __m256i some = pdwconv_avx2_first_lanes(ow);
    for (size_t x = 0; x < ow; x += LANES) {
        const size_t at = min_size(x, max_size(ow, LANES) - LANES); /* the last vector overlaps the one before */
        __m256 sum[LINES];
        PCX_UNROLL
        for (int y = 0; y < lines; y++)
            sum[y] = e->bias;
        PCX_UNROLL
        for (int i = 0; i < (lines - 1) * s + k; i++)
            PCX_UNROLL
            for (int kx = 0; kx < k; kx++) {
                const float *from = in + (size_t)i * pitch + at;
                const __m256 v = _mm256_loadu_ps(s == 1 ? from + kx : from + kx % 2 * (ptrdiff_t)odd + kx / 2);
                PCX_UNROLL
                for (int y = 0; y < lines; y++)
                    if (i - y * s >= 0 && i - y * s < k)
                        sum[y] = _mm256_fmadd_ps(v, w[(i - y * s) * k + kx], sum[y]);
            }
        PCX_UNROLL
        for (int y = 0; y < lines; y++) { /* max and min return their second argument if one is NaN */
            const __m256 v = _mm256_min_ps(e->high, _mm256_max_ps(e->low, sum[y]));
            if (PCX_LIKELY(ow >= LANES))
                _mm256_storeu_ps(out + (size_t)y * ow + at, v);
            else
                _mm256_maskstore_ps(out + (size_t)y * ow, some, v);
        }
    }
}

/* Scratch lines of the input of `rows` rows of output from `top` on. */
PCX_INLINE void pdwconv_avx2_take_lines(const int k, const int s, const pcx_pdwconv_args *p, const float *in,
                                        size_t top, size_t rows, const layout *l, float *to)
{
    for (size_t i = 0; i < (rows - 1) * (size_t)s + (size_t)k; i++, to += l->pitch) {
        const size_t y = top * (size_t)s + i - p->pt; /* huge above the image */
        if (y >= p->ih) {
            if (l->rows < p->oh) /* else it is zero still */
                memset(to, 0, l->pitch * sizeof *to);
        } else if (s == 1)
            pdwconv_avx2_put_line(in + y * p->iw, p->iw, to, p->pl);
        else
            pdwconv_avx2_put_line_halves(in + y * p->iw, p->iw, to, to + l->odd, p->pl);
    }
}

/* `rows` rows of output, from `top` on, of channel c, from scratch lines. */
PCX_INLINE void pdwconv_avx2_make_rows(const int k, const int s, const pcx_pdwconv_args *p, size_t c, size_t top,
                                       size_t rows, const layout *l, const float *from, ending e)
{
    float *out = p->out + c * p->ldo + top * p->ow;
    __m256 w[25];
    PCX_UNROLL
    for (int i = 0; i < k * k; i++)
        w[i] = _mm256_broadcast_ss(p->w + c * (size_t)(k * k) + i);
    e.bias = p->bias ? _mm256_broadcast_ss(p->bias + c) : _mm256_setzero_ps();
    for (size_t y = 0; y < rows; y += LINES) {
        const size_t at = min_size(y, max_size(rows, LINES) - LINES); /* the last lines overlap those before */
        const float *in = from + at * (size_t)s * l->pitch;
        if (PCX_LIKELY(rows >= LINES))
            pdwconv_avx2_lines_of(k, s, LINES, in, l, w, &e, out + at * p->ow, p->ow);
        else
            for (size_t each = 0; each < rows; each++)
                pdwconv_avx2_lines_of(k, s, 1, in + each * (size_t)s * l->pitch, l, w, &e, out + each * p->ow, p->ow);
    }
}

/* The channels [begin, end). */
PCX_INLINE void pdwconv_avx2_channels(const int k, const int s, const pcx_pdwconv_args *p, size_t begin, size_t end,
                                      float *scratch)
{
    const layout l = pdwconv_avx2_layout_of(p);
    ending e = { .bias = _mm256_setzero_ps() };
    float low, high;
    act_bounds(p->act, p->act_params, &low, &high);
    e.low = _mm256_set1_ps(low);
    e.high = _mm256_set1_ps(high);
    memset(scratch, 0, l.pitch * l.lines * sizeof *scratch); /* what lies beside the image stays so */
    for (size_t c = begin; c < end; c++)
        for (size_t top = 0; top < p->oh; top += l.rows) {
            const size_t rows = min_size(l.rows, p->oh - top);
            pdwconv_avx2_take_lines(k, s, p, p->x + c * p->ldx, top, rows, &l, scratch);
            pdwconv_avx2_make_rows(k, s, p, c, top, rows, &l, scratch, e);
        }
}

#define PLANES(k, s) \
    PCX_NOINLINE static void pdwconv_avx2_channels_##k##_##s(const pcx_pdwconv_args *p, size_t begin, size_t end, \
                                                             float *scratch) \
    { \
        pdwconv_avx2_channels(k, s, p, begin, end, scratch); \
    }
PLANES(3, 1) PLANES(3, 2) PLANES(5, 1) PLANES(5, 2)
#undef PLANES

void pdwconv_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_pdwconv_args *p = args;
    if (!pdwconv_avx2_is_fast(p))
        pdwconv_plain(p, begin, end);
    else if (p->kh == 3)
        (p->sh == 1 ? pdwconv_avx2_channels_3_1 : pdwconv_avx2_channels_3_2)(p, begin, end, scratch);
    else
        (p->sh == 1 ? pdwconv_avx2_channels_5_1 : pdwconv_avx2_channels_5_2)(p, begin, end, scratch);
}

PCX_TARGET_END
#endif
