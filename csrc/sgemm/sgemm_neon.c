/*
 * sgemm_neon.c - what tiles of NEON are for: rows times panels.
 *
 * llvm-mca 19, inner loop of 6 x 16 (GCC 12), MAC a cycle, of 4 possible on cortex-a72, 8 on neoverse-n1, 16 on neoverse-v1:
 * 3.99, 7.98, 15.9; in order (cortex-a55) 3.9.
 */
#include "sgemm_tile_neon.h"

#if PCX_ARM64

SGEMM_NEON_STRIPS(strips, SGEMM_F32)

/*
 * All rows times the panels [begin, end), in tiles of about equal height: 49 rows are 4 x 6 + 5 x 5, not 8 x 6 + 1.  A tile
 * of rows is multiplied with all panels, which should fit the L1 cache, before the next.
 */
static void sgemm_neon_columns(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end,
                               sgemm_neon_strip *const *strips)
{
    const size_t count = ceil_div(r->count, SGEMM_TALL), less = count ? r->count / count : 0;
    for (size_t i = 0, more = r->count - less * count; i < r->count; more -= more > 0) {
        const size_t rows = less + (more > 0);
        strips[rows](r, i, to, begin, end);
        i += rows;
    }
}

void sgemm_neon_panels(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end,
                       const sgemm_neon_strips *strips)
{
    enum { CACHE = 24576 }; /* bytes of panels */
    static const size_t flat[] = { 1, 4, 2, 2 }; /* panels of a strip of few rows */
    const size_t panels = ceil_div(to->n, SGEMM_NR), rest = to->n % SGEMM_NR;
    const size_t at_once = max_size(1, CACHE / max_size(r->lines * r->runs * r->length * SGEMM_NR * sizeof(float), 1));
    const size_t last = rest && rest <= SGEMM_NR / 2 && begin < end && end == panels ? end - 1 : end;
    size_t panel = begin;
    if (r->count && r->count <= SGEMM_NEON_FEW) {
        const size_t step = flat[r->count], stop = panel + (last - panel) / step * step;
        strips->flat[r->count](r, 0, to, panel, stop);
        panel = stop;
    }
    for (size_t next; panel < last; panel = next) {
        next = min_size(last, panel + at_once);
        sgemm_neon_columns(r, to, panel, next, strips->whole);
    }
    sgemm_neon_columns(r, to, last, end, strips->half); /* the empty half of the last panel is left out */
}

void sgemm_rows_neon(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end)
{
    sgemm_neon_panels(r, to, begin, end, &strips);
}

PCX_HIDDEN extern const sgemm_micro sgemm_micro_neon;
const sgemm_micro sgemm_micro_neon = { SGEMM_TALL, sgemm_rows_neon };

#endif
