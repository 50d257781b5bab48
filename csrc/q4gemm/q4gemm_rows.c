/* q4gemm_rows.c - the driver: blocks of rows, copied where they must be, through a micro-kernel. */
#include "q4gemm.h"

static int q4gemm_rows_few(const pcx_q4gemm_args *p) { return p->m <= Q4_FEW; }

static size_t q4gemm_rows_panels(const pcx_q4gemm_args *p, const q4gemm_micro *micro)
{
    return q4gemm_rows_few(p) ? micro->few : micro->many;
}

/* Rows are read in place if whole steps of them are in `a`, and as they are. */
static int q4gemm_rows_in_place(const pcx_q4gemm_args *p) { return !q4gemm_rows_few(p) && p->k % 4 == 0; }

/* The bytes of a workspace; with `scratch`, also the workspace. */
static size_t q4gemm_rows_workspace(const pcx_q4gemm_args *p, const q4gemm_micro *micro, char *scratch,
                                    q4gemm_workspace *m)
{
    const size_t rows = q4gemm_split(p, 1).rows, panels = q4gemm_rows_panels(p, micro), groups = q4gemm_groups(p);
    const size_t chunks = ceil_div(p->k, 4 * Q4_CHUNK), parts = micro->by_group ? groups : chunks;
    const int few = q4gemm_rows_few(p);
    const size_t copy = round_up(rows * sizeof *m->row, 64), copy_step = chunks * 4 * Q4_CHUNK;
    const size_t sums = copy + (q4gemm_rows_in_place(p) ? 0 : round_up(rows * copy_step, 64));
    const size_t w = sums + (few ? round_up(rows * parts * 4, 64) : 0);
    const size_t start = w + (few ? 0 : panels * chunks * Q4_CHUNK * 64);
    const size_t scale = start + (few ? 0 : panels * parts * 64);
    if (scratch)
        *m = (q4gemm_workspace){ .row = (const uint8_t **)scratch, .copy = (uint8_t *)scratch + copy,
                                 .copy_step = copy_step, .parts = parts, .sums = scratch + sums,
                                 .w = (int8_t *)scratch + w, .start = scratch + start,
                                 .scale = (float *)(scratch + scale) };
    return scale + (few ? 0 : panels * groups * 64);
}

/* Rows [i, i + rows), to whole tiles; beyond them the last one is taken again.  Beyond k stand products of 0. */
static void q4gemm_rows_make(const pcx_q4gemm_args *p, const q4gemm_micro *micro, size_t i, size_t rows,
                             const q4gemm_workspace *m)
{
    const int in_place = q4gemm_rows_in_place(p);
    for (size_t r = 0; r < rows; r++) {
        uint8_t *copy = m->copy + r * m->copy_step;
        m->row[r] = in_place ? p->a + (i + r) * p->lda : copy;
        if (!in_place) {
            memcpy(copy, p->a + (i + r) * p->lda, p->k);
            memset(copy + p->k, 128, m->copy_step - p->k);
        }
        if (q4gemm_rows_few(p))
            micro->sign(p, m, r);
    }
    for (size_t r = rows; r < round_up(rows, Q4_MR); r++)
        m->row[r] = m->row[rows - 1];
}

size_t q4gemm_rows_units(const void *args, const q4gemm_micro *micro)
{
    const pcx_q4gemm_args *p = args;
    const q4gemm_grid g = q4gemm_split(p, q4gemm_rows_panels(p, micro));
    return g.blocks * g.groups;
}

size_t q4gemm_rows_scratch(const void *args, const q4gemm_micro *micro)
{
    return q4gemm_rows_workspace(args, micro, NULL, NULL);
}

void q4gemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const q4gemm_micro *micro)
{
    const pcx_q4gemm_args *p = args;
    const size_t together = q4gemm_rows_panels(p, micro);
    const q4gemm_grid g = q4gemm_split(p, together);
    const qepilogue tail = qepilogue_make_floats(&p->output, p->ot);
    const int few = q4gemm_rows_few(p);
    _Alignas(64) float v[Q4_PANELS][Q4_TOGETHER][Q4_NR];
    q4gemm_workspace m = { 0 };
    if (begin >= end)
        return;
    q4gemm_rows_workspace(p, micro, scratch, &m);
    for (size_t u = begin; u < end; u++) {
        const size_t panel = u % g.groups * together, count = min_size(together, g.panels - panel);
        const size_t i = u / g.groups * g.rows, rows = min_size(g.rows, p->m - i);
        if (u == begin || panel == 0)
            q4gemm_rows_make(p, micro, i, rows, &m);
        if (!few)
            micro->unpack(p, &m, panel, count);
        for (size_t r = 0, next; r < rows; r = next) {
            next = min_size(r + Q4_TOGETHER, rows);
            if (few)
                micro->run_few(p, &m, rows, panel, count, v[0]);
            for (size_t x = r; !few && x < next; x += Q4_MR)
                micro->run_many(p, &m, m.row + x, min_size(Q4_MR, next - x), count, v[0] + (x - r));
            for (size_t x = 0; x < count; x++)
                micro->finish(p, &tail, panel + x, i + r, next - r, v[x]);
        }
    }
}
