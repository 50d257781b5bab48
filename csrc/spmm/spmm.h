/*
 * spmm.h - what the spmm files share.
 *
 * A panel of pixels, channel by channel, times rows of w: a nonzero is one broadcast times neighbours.  The driver
 * (spmm_panels.c) splits the work and makes panels; a micro-kernel, one for each ISA, multiplies them.
 */
#ifndef PCX_SPMM_H
#define PCX_SPMM_H

#include "../common/pcx.h"

enum {
    SPMM_LANES_MIN = 8, /* lanes of a vector, on any ISA, are a multiple of these */
    SPMM_VECTORS = 8,   /* vectors of a panel, at most, on any ISA */
    SPMM_BLOCK = 64     /* rows of w whose sums wait in scratch until they are transposed */
};

/* A panel of pixels: in scratch, or in place; channels are `stride` bytes apart. */
typedef struct {
    const char *at;
    size_t stride;
} spmm_panel;

/* What a block of rows will write, and what the panel after this one is made of: both are brought closer meanwhile. */
typedef struct {
    const float *out;
    size_t ldo, pixels, columns;
    const char *next; /* the part that falls to this block */
    size_t bytes;
} spmm_ahead;

/* Channel-first (CHW) outputs: of the panel's first pixel; the last vector lies `last` pixels after it. */
typedef struct {
    float *out;
    const float *residual;
    size_t last;
    float low, high;
} spmm_chw;

/*
 * sums[r - first][position] of the rows [first, last) of w, in one slice; the first slice begins at the bias.  Of the
 * last slice they go to `chw`, unless it is NULL.
 */
typedef void spmm_multiply_fn(const pcx_spmm_args *p, size_t slice, size_t first, size_t last, const spmm_panel *from,
                              float *sums, const spmm_ahead *ahead, const spmm_chw *chw);

typedef struct {
    size_t lanes, vectors;      /* of a vector; vectors of a panel at most */
    size_t few, vectors_of_few; /* the same where k < few */
    spmm_multiply_fn *const *multiply; /* [1 + vectors]: by the vectors of a panel */
    /* a panel of `pixels` pixels from `a` on, `width` floats to a channel, into `to` */
    void (*gather)(const pcx_spmm_args *p, const float *a, size_t pixels, size_t lanes, size_t width, float *to);
    /* sums[r - first][position] of the rows [first, last), `width` floats to a row, to the pixels from `pixel` on */
    void (*finish)(const pcx_spmm_args *p, const float *sums, size_t lanes, size_t width, size_t first, size_t last,
                   size_t pixel, size_t pixels);
} spmm_micro;

/* Where the vector at p takes its `lanes` of `count` numbers: the last one moves back, as far as it can. */
PCX_INLINE size_t spmm_back(size_t p, size_t count, size_t lanes)
{
    return min_size(p, max_size(count, lanes) - lanes);
}

/* The pixel of a panel at position p, a multiple of 8; the seven after it follow.  A panel has `pixels`. */
PCX_INLINE size_t spmm_pixel(size_t p, size_t pixels, size_t lanes)
{
    if (pixels < lanes)
        return spmm_back(p, pixels, SPMM_LANES_MIN);
    return spmm_back(p - p % lanes, pixels, lanes) + p % lanes;
}

/* spmm_panels.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t spmm_panels_units(const void *args, const spmm_micro *micro);
PCX_HIDDEN size_t spmm_panels_scratch(const void *args, const spmm_micro *micro);
PCX_HIDDEN void spmm_panels_run(const void *args, size_t begin, size_t end, void *scratch, const spmm_micro *micro);

#if PCX_X86
/* spmm_avx2.c: for all ISAs of x86-64.  Shuffles of 512 bits would take as long: there is one unit for them. */
PCX_HIDDEN void spmm_avx2_gather(const pcx_spmm_args *p, const float *a, size_t pixels, size_t lanes, size_t width,
                                 float *to);
PCX_HIDDEN void spmm_avx2_finish(const pcx_spmm_args *p, const float *sums, size_t lanes, size_t width, size_t first,
                                 size_t last, size_t pixel, size_t pixels);
#endif

#endif
