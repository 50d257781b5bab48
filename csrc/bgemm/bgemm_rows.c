/* bgemm_rows.c - the driver: blocks of rows of a matrix, rounded into scratch, through a micro-kernel. */
#include "bgemm.h"

/* An odd number of cache lines: rows of a tile then lie in different sets of the cache. */
static size_t bgemm_rows_bytes(size_t k, const bgemm_micro *micro)
{
    return round_up(round_up(k, 2) * micro->bytes, 64) | 64;
}

/*
 * Blocks of whole tiles that are as equal as can be: 196 rows are 7 x 28, not 6 x 32 + 4.  Up to a few blocks they are
 * large, because each reads the weights; beyond, there are enough for all threads.
 */
PCX_NOINLINE sgemm_split bgemm_split_of(size_t m, size_t n, size_t k, const bgemm_micro *micro)
{
    enum { BYTES = 1 << 18, ROWS = 256, MANY = 1024 }; /* of a block, unless rows are huge; in it, at most; of all */
    const size_t mr = m ? round_up(ceil_div(m, ceil_div(m, micro->mr)), 2) : micro->mr;
    const size_t rows = min_size(BYTES / bgemm_rows_bytes(k, micro), m > MANY ? ROWS / 2 : ROWS) / mr * mr;
    return sgemm_split_of(m, n, k, max_size(rows, mr), mr);
}

/* The bytes of the largest block. */
static size_t bgemm_rows_block(const sgemm_split *s, size_t k, const bgemm_micro *micro)
{
    return round_up(s->rows, micro->mr) * bgemm_rows_bytes(k, micro);
}

size_t bgemm_scratch_of(size_t m, size_t n, size_t k, const bgemm_micro *micro)
{
    const sgemm_split s = bgemm_split_of(m, n, k, micro);
    return bgemm_rows_block(&s, k, micro) + round_up(ceil_div(k, 2), 2) * micro->panel;
}

size_t bgemm_rows_units(const void *args, const bgemm_micro *micro)
{
    const pcx_bgemm_args *p = args;
    const sgemm_split s = bgemm_split_of(p->m, p->n, p->k, micro);
    return s.blocks * s.groups;
}

size_t bgemm_rows_scratch(const void *args, const bgemm_micro *micro)
{
    const pcx_bgemm_args *p = args;
    return bgemm_scratch_of(p->m, p->n, p->k, micro);
}

void bgemm_rows_at(const bgemm_rows *r, size_t first, size_t count, sgemm_rows *at)
{
    at->count = count;
    for (size_t i = 0; i < count; i++) {
        at->out[i] = r->out + (first + i) * r->ldo;
        at->residual[i] = r->residual ? r->residual + (first + i) * r->ldr : NULL;
    }
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
        wide = shapes->wide(r->count, end - panel);
        bgemm_start(to, panel, wide, start);
        const size_t tiles = ceil_div(r->count, shapes->tall[wide]), width = wide * SGEMM_NR;
        for (size_t t = 0, i = 0, rows; t < tiles; t++, i += rows) {
            rows = r->count / tiles + (t < r->count % tiles);
            bgemm_rows_sums(shapes->tile[wide][rows], r, i, to->w + panel * to->ldw, to->ldw, start, sum, rows * width);
            shapes->finish(r, i, rows, to, panel * SGEMM_NR, sum, width);
        }
    }
}

PCX_NOINLINE void bgemm_rows_blocks(const void *args, bgemm_round *round, const bgemm_target *to, float *out,
                                    size_t ldo, size_t m, size_t k, size_t begin, size_t end, char *scratch,
                                    const bgemm_micro *micro)
{
    const sgemm_split s = bgemm_split_of(m, to->n, k, micro);
    const float *const residual = to->tail->residual;
    bgemm_rows rows = { .ldo = ldo, .ldr = to->tail->ldr, .a = scratch, .lda = bgemm_rows_bytes(k, micro),
                        .steps = ceil_div(k, 2), .panel = scratch + bgemm_rows_block(&s, k, micro) };
    if (k % 2) /* the last pairs are filled up with zero, which all blocks keep */
        for (size_t i = 0; i < s.rows; i++)
            memset(scratch + i * rows.lda + k * micro->bytes, 0, micro->bytes);
    for (size_t unit = begin, some; unit < end; unit += some) {
        const size_t first = unit / s.groups * s.rows, group = unit % s.groups;
        some = min_size(s.groups - group, end - unit);
        rows.count = min_size(s.rows, m - first);
        rows.fresh = unit / s.groups == begin / s.groups;
        rows.out = out + first * ldo;
        rows.residual = residual ? residual + first * rows.ldr : NULL;
        round(args, first, rows.count, scratch, rows.lda, micro);
        micro->run(&rows, to, group * s.panels, min_size((group + some) * s.panels, ceil_div(to->n, SGEMM_NR)));
    }
}

static void bgemm_rows_round(const void *args, size_t first, size_t count, char *to, size_t lda,
                             const bgemm_micro *micro)
{
    const pcx_bgemm_args *p = args;
    micro->round(&(bgemm_source){ p->a + first * p->lda, count, p->lda, 1, 0, p->k }, to, lda);
}

void bgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const bgemm_micro *micro)
{
    const pcx_bgemm_args *p = args;
    const bgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    bgemm_rows_blocks(p, bgemm_rows_round, &to, p->out, p->ldo, p->m, p->k, begin, end, scratch, micro);
}
