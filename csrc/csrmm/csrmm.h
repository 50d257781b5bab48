/* csrmm.h - what the csrmm files share. */
#ifndef PCX_CSRMM_H
#define PCX_CSRMM_H

#include "../common/pcx.h"

/*
 * A caller's indices were checked before the call, but another thread of the caller may change them meanwhile.  So
 * that no address depends on that, code that walks a row takes its bounds from csrmm_bound, and its columns,
 * CSRMM_CHUNK at a time, from csrmm_columns.
 */
enum { CSRMM_CHUNK = 256 };

static inline size_t csrmm_bound(const pcx_csrmm_args *p, size_t row)
{
    return min_size((uint32_t)p->rows[row], p->k ? p->nnz : 0);
}

PCX_INLINE void csrmm_columns(const pcx_csrmm_args *p, size_t first, size_t count, int32_t *columns)
{
    const uint32_t last = (uint32_t)p->k - 1;
    for (size_t i = 0; i < count; i++) {
        const uint32_t column = (uint32_t)p->index[first + i];
        columns[i] = (int32_t)(column < last ? column : last);
    }
}

typedef struct {
    size_t bytes, vectors; /* of a vector; vectors of a panel, at most */
    size_t deep, vectors_of_deep; /* where k > deep: at least so many, if there are, and at most half more; or 0 */
    /* columns [column, + columns) of x to a panel of whole vectors; floats, doubles */
    void (*fill[2])(const pcx_csrmm_args *p, size_t column, size_t columns, void *panel);
    /* the same for floats, whole vectors or more of them, where ldx is 1 */
    void (*transpose)(const pcx_csrmm_args *p, size_t column, size_t columns, size_t lanes, float *panel);
    /* rows [first, last) of W times a panel of `columns` columns; out: the first of these rows; floats, doubles.  `own`:
       p->index is a copy, which nobody changes, with what csrmm_columns gives */
    void (*rows[2])(const pcx_csrmm_args *p, int own, size_t first, size_t last, const void *panel, void *out,
                    size_t columns);
    /* rows [first, last) of W times the one dense column of x; floats, doubles */
    void (*vector[2])(const pcx_csrmm_args *p, size_t first, size_t last);
} csrmm_micro;

PCX_HIDDEN void csrmm_scalar(const void *args, size_t begin, size_t end, void *scratch);

/* csrmm_panels.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t csrmm_panels_units(const void *args, const csrmm_micro *micro);
PCX_HIDDEN size_t csrmm_panels_scratch(const void *args, const csrmm_micro *micro);
PCX_HIDDEN void csrmm_panels_run(const void *args, size_t begin, size_t end, void *scratch, const csrmm_micro *micro);

#if PCX_X86
/* csrmm_avx2.c: for all ISAs of x86-64.  What they do is shuffles, or loads of one number. */
PCX_HIDDEN void csrmm_avx2_transpose(const pcx_csrmm_args *p, size_t column, size_t columns, size_t lanes,
                                     float *panel);
PCX_HIDDEN void csrmm_avx2_vector_f32(const pcx_csrmm_args *p, size_t first, size_t last);
PCX_HIDDEN void csrmm_avx2_vector_f64(const pcx_csrmm_args *p, size_t first, size_t last);
#endif

#endif
