/*
 * qdwconv_quads.h - depthwise weights for dot products of four bytes: 3 x 3 and 5 x 5 taps, four at a time.
 *
 * A quad is four weights of a channel that meet four bytes of it: rows 0 to 3 of one column.  5 x 5 has a row more: its
 * columns 0 to 3 are a quad, column 4 is one with three zeros.  3 x 3 has three rows: a zero stands behind them and, in
 * the weights of a second line of output that is one row further down, before them.
 *
 * Channels are taken in groups of as many as a vector has bytes, `widest`: 64, 32 or 16; what is left over, in groups of 32
 * or 16, and then two or four columns share a vector, whose weights are there so often.  Interleaving the bytes of four
 * rows works within 128-bit lanes: of 16 channels, vector v of the four holds channels 4 v .. 4 v + 3.
 */
#ifndef PCX_QDWCONV_QUADS_H
#define PCX_QDWCONV_QUADS_H

#include "../common/pcx.h"

enum { QUAD_LANE = 16 }; /* channels of a 128-bit lane of four vectors */

/* The channels [j, j + channels) of a group; where c < 16, some lie beyond c. */
typedef struct {
    size_t j, channels;
} qdwconv_quad_span;

/* The group after those of the channels [0, done), done < c; it may begin before `done`. */
static inline qdwconv_quad_span qdwconv_quads_next(size_t done, size_t c, size_t widest)
{
    for (size_t n = widest; n > QUAD_LANE; n /= 2) {
        if (c - done >= n)
            return (qdwconv_quad_span){ done, n };
        if (c >= n && c - done > n / 2)
            return (qdwconv_quad_span){ c - n, n };
    }
    return (qdwconv_quad_span){ min_size(done, max_size(c, QUAD_LANE) - QUAD_LANE), QUAD_LANE };
}

static inline size_t qdwconv_quads_groups(size_t c, size_t widest)
{
    size_t count = c / widest, done = count * widest;
    for (; done < c; count++) {
        const qdwconv_quad_span s = qdwconv_quads_next(done, c, widest);
        done = s.j + s.channels;
    }
    return count;
}

/* Quads of a channel: 3 x 3: [line][kx]; 5 x 5: [kx], then the last row's two. */
static inline size_t qdwconv_quads_count(size_t k) { return k == 3 ? 6 : 7; }

/* Bytes for, and [group][quad][4 v][widest bytes] of, w i8[kh*kw,c]; nothing but for 3 x 3 and 5 x 5. */
PCX_HIDDEN size_t qdwconv_quads_bytes(size_t kh, size_t kw, size_t c, size_t widest);
PCX_HIDDEN void qdwconv_quads_make(size_t kh, size_t kw, size_t c, const int8_t *w, size_t widest, void *made);

/* Whether kernels of quads take them: these sizes, no dilation of columns, strides 1 and 2, u8 outputs, no wzp. */
PCX_HIDDEN int qdwconv_quads_take(const void *args);
#if PCX_ARM64
PCX_HIDDEN int qdwconv_dotprod_takes(const void *args);
#endif

#endif
