/* csrmm.h - what the csrmm files share. */
#ifndef PCX_CSRMM_H
#define PCX_CSRMM_H

#include "../common/pcx.h"

enum { CSRMM_VECTORS = 8, CSRMM_TALL = 1 << 22 }; /* of a panel; max k of which a panel is made */

typedef struct {
    size_t vectors, panels, rows, groups; /* as in spmm.h */
} csrmm_split;

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

PCX_HIDDEN void csrmm_scalar(const void *args, size_t begin, size_t end, void *scratch);

#if PCX_X86
PCX_HIDDEN void csrmm_avx2(const void *args, size_t begin, size_t end, void *scratch);
PCX_HIDDEN size_t csrmm_units_avx2(const void *args);
PCX_HIDDEN size_t csrmm_scratch_avx2(const void *args);
#endif

#endif
