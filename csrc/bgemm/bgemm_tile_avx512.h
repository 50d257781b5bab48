/*
 * bgemm_tile_avx512.h - tiles of up to 24 sums of 512 bits and up to four panels: 6 x 4, 8 x 3, 12 x 2, 12 x 1.  With
 * four weights and a broadcast they leave registers for a mask.
 */
#ifndef PCX_BGEMM_TILE_AVX512_H
#define PCX_BGEMM_TILE_AVX512_H

#include "bgemm.h"

#if PCX_X86

enum { BGEMM_TILE_TALL = 12 };

/* Groups of panels as equal as can be: 5 are 3 + 2. */
static size_t bgemm_tile_wide(size_t count, size_t panels)
{
    (void)count;
    return ceil_div(panels, ceil_div(panels, BGEMM_WIDE));
}

#define BGEMM_TILE(stem, mr, np)                                                                            \
    static void stem##_##mr##x##np(const bgemm_rows *r, size_t first, const uint16_t *w, size_t ldw, size_t from, \
                                   size_t steps, const float *start, float *sum)                            \
    {                                                                                                       \
        stem(r, first, w, ldw, from, steps, start, sum, mr, np);                                            \
    }
#define BGEMM_TILES_6(stem, np) \
    BGEMM_TILE(stem, 1, np) BGEMM_TILE(stem, 2, np) BGEMM_TILE(stem, 3, np) BGEMM_TILE(stem, 4, np) \
    BGEMM_TILE(stem, 5, np) BGEMM_TILE(stem, 6, np)
#define BGEMM_TILES_8(stem, np) BGEMM_TILES_6(stem, np) BGEMM_TILE(stem, 7, np) BGEMM_TILE(stem, 8, np)
#define BGEMM_TILES_12(stem, np) \
    BGEMM_TILES_8(stem, np) \
    BGEMM_TILE(stem, 9, np) BGEMM_TILE(stem, 10, np) BGEMM_TILE(stem, 11, np) BGEMM_TILE(stem, 12, np)
#define BGEMM_LIST_6(stem, np) \
    NULL, stem##_1x##np, stem##_2x##np, stem##_3x##np, stem##_4x##np, stem##_5x##np, stem##_6x##np
#define BGEMM_LIST_8(stem, np) BGEMM_LIST_6(stem, np), stem##_7x##np, stem##_8x##np
#define BGEMM_LIST_12(stem, np) \
    BGEMM_LIST_8(stem, np), stem##_9x##np, stem##_10x##np, stem##_11x##np, stem##_12x##np

/* `stem`_shapes, of the inline function `stem`: a bgemm_tile with mr and np behind its arguments. */
#define BGEMM_SHAPES(stem)                                                                              \
    BGEMM_TILES_12(stem, 1) BGEMM_TILES_12(stem, 2) BGEMM_TILES_8(stem, 3) BGEMM_TILES_6(stem, 4)       \
    static bgemm_tile *const stem##s_1[] = { BGEMM_LIST_12(stem, 1) };                                  \
    static bgemm_tile *const stem##s_2[] = { BGEMM_LIST_12(stem, 2) };                                  \
    static bgemm_tile *const stem##s_3[] = { BGEMM_LIST_8(stem, 3) };                                   \
    static bgemm_tile *const stem##s_4[] = { BGEMM_LIST_6(stem, 4) };                                   \
    static const bgemm_shapes stem##_shapes = { bgemm_tile_wide,                                        \
                                                { 0, 12, 12, 8, 6 },                                    \
                                                { NULL, stem##s_1, stem##s_2, stem##s_3, stem##s_4 },   \
                                                bgemm_avx512_finish };

#endif
#endif
