/* qgemm_avx2.c - certified int16 windows of vpmaddubsw, or widened products: qgemm_tile.h. */
#include "qgemm.h"
#include "qgemm_tile.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* A panel's 16 columns; what lies beyond n is zero. */
typedef struct {
    uint32_t base[QGEMM_NR];             /* sums start here, less what depends on the row: */
    uint32_t zero[QGEMM_NR], w[QGEMM_NR]; /* times the row's zero point and times its sum */
} columns;

/* acc = sum a w - azp (colsum - k wzp) - wzp sum a + bias; windows start off by `fix`, the sum of all starts. */
static void columns_make(const qgemm_block *b, size_t j, size_t cols, const int32_t *fix, columns *c)
{
    memset(c, 0, sizeof *c);
    for (size_t x = 0; x < cols; x++) {
        const uint32_t zw = b->wzp ? (uint32_t)b->wzp[j + x] : 0;
        c->zero[x] = (uint32_t)b->colsum[j + x] - (uint32_t)b->k * zw;
        c->w[x] = zw;
        c->base[x] = (b->tail->bias ? (uint32_t)b->tail->bias[j + x] : 0) - (uint32_t)fix[x];
        c->base[x] -= b->zero ? 0 : (uint32_t)b->azp * c->zero[x];
    }
}

/* Where the sums of tile rows [r, r + QGEMM_MR) start. */
static void start_rows(const qgemm_block *b, size_t r, const columns *c, uint32_t start[][QGEMM_NR])
{
    for (size_t x = 0; x < QGEMM_MR; x++) {
        const size_t row = min_size(r + x, b->rows - 1);
        const uint32_t za = b->zero ? (uint32_t)b->zero[row] : 0, sum = b->row_sum ? b->row_sum[row] : 0;
        for (size_t y = 0; y < QGEMM_NR; y++)
            start[x][y] = c->base[y] - za * c->zero[y] - sum * c->w[y];
    }
}

/* A panel's weights in the parts in which they are summed. */
typedef struct {
    qgemm_tile main, rest;       /* but for what changes from tile to tile; rest.steps may be 0 */
    const ptrdiff_t *offset[2];  /* of the rest: without and by the block's table */
    int32_t fix[QGEMM_NR];
} parts;

static void part_make(const qgemm_acc16_part *from, const int8_t *w, qgemm_tile *t, int32_t *fix)
{
    t->steps = from->steps;
    t->window = from->window;
    t->w = from->w ? from->w : w;
    t->start = from->start;
    for (size_t x = 0; t->window > 1 && x < QGEMM_NR; x++)
        fix[x] += from->fix[x];
}

static void parts_make(const qgemm_block *b, size_t panel, parts *to)
{
    const int8_t *w = b->w + panel * b->steps * QGEMM_STEP;
    const qgemm_acc16 none = { .main = { .steps = b->steps } }, *proof = b->proof ? b->proof + panel : &none;
    qgemm_acc16_part first = proof->main;
    memset(to, 0, sizeof *to);
    if (b->rows <= 2 && first.window && !proof->rest.steps)
        first.window = 1; /* weights are read but once: their starts would cost more than they save */
    part_make(&first, w, &to->main, to->fix);
    part_make(&proof->rest, w, &to->rest, to->fix);
    to->main.wide = (int16_t *)b->scratch;
    if (!to->main.window)
        qgemm_widen(b->steps, w, (int16_t *)b->scratch);
    ptrdiff_t *offset = (ptrdiff_t *)(b->scratch + qgemm_wide(b->steps));
    to->offset[0] = offset;
    to->offset[1] = offset + to->rest.steps;
    for (size_t x = 0; x < to->rest.steps; x++) {
        const size_t at = proof->rest.at[x];
        offset[x] = (ptrdiff_t)(4 * at);
        offset[to->rest.steps + x] = b->table ? b->table[at] : 0;
    }
}

/* How many whole tiles from row r on are read the same way. */
static size_t whole_tiles(const qgemm_block *b, size_t r)
{
    const size_t all = b->rows / QGEMM_MR, first = r / QGEMM_MR;
    size_t tile = first;
    while (tile < all && (!b->table || b->in_place[tile] == b->in_place[first]))
        tile++;
    return tile - first;
}

void qgemm_panel_avx2(const qgemm_block *b, size_t panel)
{
    const size_t j = panel * QGEMM_NR, cols = min_size(QGEMM_NR, b->n - j), ldo = b->ldo * b->tail->bytes;
    const int by_row = b->zero || b->row_sum;
    const qt_columns tail = qt_columns_make(b->tail, j, cols);
    _Alignas(64) int32_t start[QGEMM_MR][QGEMM_NR], sum[QGEMM_MR][QGEMM_NR];
    columns c;
    parts p;
    parts_make(b, panel, &p);
    columns_make(b, j, cols, p.fix, &c);
    start_rows(b, 0, &c, (uint32_t(*)[QGEMM_NR])start);
    p.rest.from = (const int32_t(*)[QGEMM_NR])start;
    p.main.from = (const int32_t(*)[QGEMM_NR])(p.rest.steps ? sum : start);
    p.rest.sum = p.main.sum = sum;
    uint8_t *out = (uint8_t *)b->out + b->i * ldo + j * b->tail->bytes;
    for (size_t r = 0, count; r < b->rows; r += count) {
        const int in_place = b->table && b->in_place[r / QGEMM_MR];
        p.main.row = p.rest.row = b->row + r;
        p.main.offset = in_place ? b->table : NULL;
        qgemm_sweep *const sweep = by_row ? NULL : qgemm_sweep_avx2(&p.main, &tail);
        const size_t whole = sweep ? min_size(whole_tiles(b, r), p.rest.steps ? 1 : SIZE_MAX) : 0;
        count = whole ? whole * QGEMM_MR : min_size(QGEMM_MR, b->rows - r);
        p.rest.offset = p.offset[in_place];
        if (by_row && r)
            start_rows(b, r, &c, (uint32_t(*)[QGEMM_NR])start);
        if (p.rest.steps)
            qgemm_tile_avx2(&p.rest, min_size(count, QGEMM_MR));
        if (whole) {
            sweep(&p.main, whole, &tail, b->i + r, out + r * ldo, ldo);
        } else {
            qgemm_tile_avx2(&p.main, count);
            qtail_rows_avx2(&tail, b->i + r, count, sum, out + r * ldo, ldo);
        }
    }
}

/* ---- the rows of a matrix ---- */

enum { SPARES = 4 };

/* What a thread needs for a unit, cut from its scratch. */
typedef struct {
    const uint8_t **row;
    int32_t *zero;
    uint32_t *row_sum;
    uint8_t *spare; /* SPARES rows of whole steps */
    char *panel; /* qgemm_block_scratch */
} room;

/* The bytes of a room; with `scratch`, also the room. */
static size_t room_make(const pcx_qgemm_args *p, char *scratch, room *r)
{
    const size_t rows = qgemm_split(p).rows, steps = ceil_div(p->k, 4);
    const size_t zero = round_up(rows * sizeof *r->row, 64), row_sum = zero + round_up(rows * 4, 64);
    const size_t spare = row_sum + round_up(rows * 4, 64), panel = spare + round_up(SPARES * steps * 4, 64);
    if (scratch)
        *r = (room){ (const uint8_t **)scratch, (int32_t *)(scratch + zero), (uint32_t *)(scratch + row_sum),
                     (uint8_t *)scratch + spare, scratch + panel };
    return panel + qgemm_block_scratch(steps);
}

size_t qgemm_avx2_scratch(const void *args) { return room_make(args, NULL, NULL); }

/*
 * How many rows of `a` are readable in whole steps: past its k bytes, meeting zero weights, another
 * row may stand, but not the end of `a`.  All but the last if lda >= 3, but three if lda is 1.
 */
static size_t readable(const pcx_qgemm_args *p)
{
    const size_t past = round_up(p->k, 4) - p->k;
    const size_t rest = past && p->lda ? ceil_div(past, p->lda) : past ? p->m : 0;
    return p->m - min_size(rest, p->m);
}

/* Row i, padded to whole steps, in `spare`; with lda 0 all rows are one. */
static const uint8_t *padded(const pcx_qgemm_args *p, size_t i, uint8_t *spare)
{
    const size_t width = round_up(p->k, 4);
    spare += (p->lda ? p->m - 1 - i : 0) * width;
    memcpy(spare, p->a + i * p->lda, p->k);
    memset(spare + p->k, 0, width - p->k);
    return spare;
}

static void rows_make(const pcx_qgemm_args *p, size_t i, size_t rows, room *r)
{
    const size_t whole = readable(p), direct = whole > i ? min_size(rows, whole - i) : 0;
    const uint8_t *a = p->a + i * p->lda;
    for (size_t x = 0; x < direct; x++, a += p->lda)
        r->row[x] = a;
    for (size_t x = direct; x < rows; x++)
        r->row[x] = padded(p, i + x, r->spare);
    for (size_t x = rows; x < round_up(rows, QGEMM_MR); x++)
        r->row[x] = r->row[rows - 1];
    for (size_t x = 0; p->ldz && x < rows; x++)
        r->zero[x] = p->azp[(i + x) * p->ldz];
    for (size_t x = 0; p->wzp && x < rows; x++) {
        r->row_sum[x] = 0;
        for (size_t q = 0; q < p->k; q++)
            r->row_sum[x] += r->row[x][q];
    }
}

void qgemm_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qgemm_args *p = args;
    const qgemm_grid g = qgemm_split(p);
    const qtail tail = qtail_make(&p->tail, p->ot);
    room r = { 0 };
    if (begin >= end)
        return;
    room_make(p, scratch, &r);
    qgemm_block b = { .row = r.row, .azp = p->ldz ? 0 : p->azp[0], .zero = p->ldz ? r.zero : NULL,
                      .row_sum = p->wzp ? r.row_sum : NULL, .k = p->k, .steps = ceil_div(p->k, 4), .n = p->n,
                      .w = p->w, .colsum = p->colsum, .wzp = p->wzp, .proof = p->prepared, .scratch = r.panel,
                      .tail = &tail, .out = p->out, .ldo = p->ldo };
    for (size_t u = begin; u < end; u++) {
        if (u == begin || u % g.panels == 0) {
            b.i = u / g.panels * g.rows;
            b.rows = min_size(g.rows, p->m - b.i);
            rows_make(p, b.i, b.rows, &r);
        }
        qgemm_panel_avx2(&b, u % g.panels);
    }
}

size_t qgemm_prepared(const void *args)
{
    const pcx_qgemm_args *p = args;
    return qgemm_acc16_bytes(ceil_div(p->n, QGEMM_NR), ceil_div(p->k, 4));
}

void qgemm_prepare(const void *args, void *prepared)
{
    const pcx_qgemm_args *p = args;
    qgemm_acc16_make(ceil_div(p->n, QGEMM_NR), ceil_div(p->k, 4), p->w, prepared);
}

PCX_TARGET_END
#endif
