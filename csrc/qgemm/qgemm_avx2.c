/* qgemm_avx2.c - int16 accumulation of vpmaddubsw where it is exact, or widened products: qgemm_tile_avx2.h. */
#include "qgemm.h"
#include "qgemm_tile_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* A panel's weights as the two parts that are summed separately. */
typedef struct {
    qgemm_tile main, rest;       /* except for fields that change from tile to tile; rest.steps may be 0 */
    const ptrdiff_t *offset[2];  /* of the rest: without and by the block's table */
    int32_t fix[QGEMM_NR];
} parts;

static void qgemm_avx2_part_make(const qgemm_acc16_part *from, const int8_t *w, qgemm_tile *t, int32_t *fix)
{
    t->steps = from->steps;
    t->depth = from->depth;
    t->w = from->w ? from->w : w;
    t->start = from->start;
    for (size_t x = 0; t->depth > 1 && x < QGEMM_NR; x++)
        fix[x] += from->fix[x];
}

static void qgemm_avx2_parts_make(const qgemm_block *b, size_t panel, parts *to)
{
    const int8_t *w = b->w + panel * b->steps * QGEMM_STEP;
    const qgemm_acc16 none = { .main = { .steps = b->steps } };
    const qgemm_acc16 *const all = b->prepared, *acc16 = all ? all + panel : &none;
    qgemm_acc16_part first = acc16->main;
    memset(to, 0, sizeof *to);
    if (b->rows <= 2 && first.depth && !acc16->rest.steps)
        first.depth = 1; /* weights are read only once: start values would cost more than they save */
    qgemm_avx2_part_make(&first, w, &to->main, to->fix);
    qgemm_avx2_part_make(&acc16->rest, w, &to->rest, to->fix);
    to->main.wide = (int16_t *)b->scratch;
    if (!to->main.depth)
        qgemm_widen(b->steps, w, (int16_t *)b->scratch);
    ptrdiff_t *offset = (ptrdiff_t *)(b->scratch + qgemm_wide(b->steps));
    to->offset[0] = offset;
    to->offset[1] = offset + to->rest.steps;
    for (size_t x = 0; x < to->rest.steps; x++) {
        const size_t at = acc16->rest.at[x];
        offset[x] = (ptrdiff_t)(4 * at);
        offset[to->rest.steps + x] = b->table ? b->table[at] : 0;
    }
}

static void qgemm_avx2_panel(const qgemm_block *b, size_t panel)
{
    const size_t j = panel * QGEMM_NR, cols = min_size(QGEMM_NR, b->n - j), ldo = b->ldo * b->tail->bytes;
    const int by_row = b->zero || b->row_sum;
    const qepilogue_avx2_columns tail = qepilogue_avx2_columns_make(b->tail, j, cols);
    _Alignas(64) int32_t start[QGEMM_MR][QGEMM_NR], sum[QGEMM_MR][QGEMM_NR];
    qgemm_columns c;
    parts p;
    qgemm_avx2_parts_make(b, panel, &p);
    qgemm_columns_make(b, j, cols, &c);
    for (size_t x = 0; x < cols; x++)
        c.base[x] -= (uint32_t)p.fix[x];
    qgemm_start_rows(b, 0, QGEMM_MR, &c, start);
    p.rest.from = (const int32_t(*)[QGEMM_NR])start;
    p.main.from = (const int32_t(*)[QGEMM_NR])(p.rest.steps ? sum : start);
    p.rest.sum = p.main.sum = sum;
    uint8_t *out = (uint8_t *)b->out + b->i * ldo + j * b->tail->bytes;
    for (size_t r = 0, count; r < b->rows; r += count) {
        const int in_place = b->table && b->in_place[r / QGEMM_MR];
        p.main.row = p.rest.row = b->row + r;
        p.main.offset = in_place ? b->table : NULL;
        qgemm_sweep *const sweep = by_row ? NULL : qgemm_sweep_avx2(&p.main, &tail);
        const size_t whole = sweep ? min_size(qgemm_whole_tiles(b, r, QGEMM_MR), p.rest.steps ? 1 : SIZE_MAX) : 0;
        count = whole ? whole * QGEMM_MR : min_size(QGEMM_MR, b->rows - r);
        p.rest.offset = p.offset[in_place];
        if (by_row && r)
            qgemm_start_rows(b, r, QGEMM_MR, &c, start);
        if (p.rest.steps)
            qgemm_tile_avx2(&p.rest, min_size(count, QGEMM_MR));
        if (whole) {
            sweep(&p.main, whole, &tail, b->i + r, out + r * ldo, ldo);
        } else {
            qgemm_tile_avx2(&p.main, count);
            qepilogue_avx2_rows(&tail, QGEMM_MR, b->i + r, count, sum, out + r * ldo, ldo);
        }
    }
}

static void qgemm_avx2_run(const qgemm_block *b, size_t panel, size_t count)
{
    for (size_t x = panel; x < panel + count; x++)
        qgemm_avx2_panel(b, x);
}

PCX_HIDDEN extern const qgemm_micro qgemm_micro_avx2;
const qgemm_micro qgemm_micro_avx2 = { .mr = QGEMM_MR, .panels = 1, .scratch = qgemm_avx2_scratch, .run = qgemm_avx2_run };

PCX_TARGET_END
#endif
