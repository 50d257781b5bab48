/* spmm.h - how the work of a product with sparse weights is split. */
#ifndef PCX_SPMM_H
#define PCX_SPMM_H

#include "../common/pcx.h"

enum {
    SPMM_LANES = 8,   /* pixels of a vector */
    SPMM_VECTORS = 8, /* vectors of a panel at most */
    SPMM_BLOCK = 64   /* rows of w whose sums are kept in scratch until they are transposed */
};

/* Panels of pixels times groups of rows of w; by the sizes alone, not by the threads. */
typedef struct {
    size_t vectors, panels; /* of all pixels */
    size_t rows, groups;    /* rows of a group; the last one may have less */
} spmm_split;

PCX_HIDDEN spmm_split spmm_split_of(size_t m, size_t n, size_t nnz);

/* Where panel `panel` begins, in vectors: panels differ by one vector at most. */
static inline size_t spmm_vector(const spmm_split *s, size_t panel)
{
    const size_t less = s->vectors / s->panels, more = s->vectors % s->panels;
    return panel * less + min_size(panel, more);
}

#if PCX_X86
PCX_HIDDEN void spmm_avx2(const void *args, size_t begin, size_t end, void *scratch);
PCX_HIDDEN size_t spmm_units_avx2(const void *args);
PCX_HIDDEN size_t spmm_scratch_avx2(const void *args);
#endif

#endif
