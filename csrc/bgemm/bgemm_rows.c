/* bgemm_rows.c - the driver: blocks of rows of a matrix, rounded into scratch, through a micro-kernel. */
#include "bgemm.h"

/* An odd number of cache lines: rows of a tile then lie in different sets of the cache. */
size_t bgemm_row_bytes(size_t k, const bgemm_micro *micro) { return round_up(round_up(k, 2) * micro->bytes, 64) | 64; }

sgemm_split bgemm_split_of(size_t m, size_t n, size_t k, const bgemm_micro *micro)
{
    enum { BYTES = 1 << 18 }; /* of a block's rows, unless they are huge */
    const size_t rows = BYTES / bgemm_row_bytes(k, micro) / micro->mr * micro->mr;
    return sgemm_split_of(m, n, k, min_size(max_size(rows, micro->mr), SGEMM_MB / micro->mr * micro->mr), micro->mr);
}

static sgemm_split bgemm_rows_split(const pcx_bgemm_args *p, const bgemm_micro *micro)
{
    return bgemm_split_of(p->m, p->n, p->k, micro);
}

size_t bgemm_rows_units(const void *args, const bgemm_micro *micro)
{
    const sgemm_split s = bgemm_rows_split(args, micro);
    return s.blocks * s.groups;
}

size_t bgemm_rows_scratch(const void *args, const bgemm_micro *micro)
{
    const pcx_bgemm_args *p = args;
    return bgemm_rows_split(p, micro).rows * bgemm_row_bytes(p->k, micro);
}

void bgemm_fill_pairs(char *to, size_t lda, size_t count, size_t k, size_t bytes)
{
    for (to += k * bytes; k % 2 && count; count--, to += lda)
        memset(to, 0, bytes);
}

void bgemm_start(const bgemm_target *to, size_t panel, size_t wide, float *start)
{
    const size_t column = panel * SGEMM_NR, columns = min_size(wide * SGEMM_NR, to->n - column);
    memset(start, 0, wide * SGEMM_NR * sizeof *start);
    if (to->tail->bias)
        memcpy(start, to->tail->bias + column, columns * sizeof *start);
}

/* All steps of a tile, in parts of BGEMM_DEEP. */
static void bgemm_rows_sums(bgemm_tile *tile, const bgemm_rows *r, size_t first, const uint16_t *w, size_t ldw,
                            const float *start, float *sum, size_t sums)
{
    static const float zeros[BGEMM_WIDE * SGEMM_NR];
    float part[BGEMM_SUMS];
    tile(r, first, w, ldw, 0, min_size(r->steps, BGEMM_DEEP), start, sum);
    for (size_t from = BGEMM_DEEP; from < r->steps; from += BGEMM_DEEP) {
        tile(r, first, w, ldw, from, min_size(r->steps - from, BGEMM_DEEP), zeros, part);
        for (size_t i = 0; i < sums; i++)
            sum[i] += part[i];
    }
}

/* Tiles of rows are as equal as can be: 49 rows are 4 x 10 + 9, not 4 x 12 + 1.  A tile's panels meet all rows. */
void bgemm_tiles(const bgemm_rows *r, const bgemm_target *to, size_t begin, size_t end, const bgemm_shapes *shapes)
{
    _Alignas(64) float start[BGEMM_WIDE * SGEMM_NR], sum[BGEMM_SUMS];
    for (size_t panel = begin, wide; panel < end; panel += wide) {
        wide = shapes->wide(r->at.count, end - panel);
        bgemm_start(to, panel, wide, start);
        const size_t tiles = ceil_div(r->at.count, shapes->tall[wide]), width = wide * SGEMM_NR;
        for (size_t t = 0, i = 0, rows; t < tiles; t++, i += rows) {
            rows = r->at.count / tiles + (t < r->at.count % tiles);
            bgemm_rows_sums(shapes->tile[wide][rows], r, i, to->w + panel * to->ldw, to->ldw, start, sum, rows * width);
            shapes->finish(r, i, rows, to, panel * SGEMM_NR, sum, width);
        }
    }
}

void bgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const bgemm_micro *micro)
{
    const pcx_bgemm_args *p = args;
    const sgemm_split s = bgemm_rows_split(p, micro);
    const bgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    bgemm_rows rows;
    rows.ldo = p->ldo;
    rows.a = scratch;
    rows.lda = bgemm_row_bytes(p->k, micro);
    rows.steps = ceil_div(p->k, 2);
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit / s.groups * s.rows, panel = unit % s.groups * s.panels;
        if (unit == begin || !panel) {
            const size_t count = rows.at.count = min_size(s.rows, p->m - first);
            micro->round(&(bgemm_source){ p->a + first * p->lda, count, p->lda, 1, 0, p->k }, scratch, rows.lda);
            bgemm_fill_pairs(scratch, rows.lda, count, p->k, micro->bytes);
            for (size_t i = 0; i < count; i++) {
                rows.at.out[i] = p->out + (first + i) * p->ldo;
                rows.at.residual[i] = p->tail.residual ? p->tail.residual + (first + i) * p->tail.ldr : NULL;
            }
        }
        micro->run(&rows, &to, panel, min_size(panel + s.panels, ceil_div(p->n, SGEMM_NR)));
    }
}
