/* qgemm_avx2.c - certified int16 windows of vpmaddubsw, or widened products: qgemm_tile.h. */
#include "qgemm.h"
#include "qgemm_tile.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* A panel's 16 columns; what lies beyond n is zero. */
typedef struct {
    uint32_t base[QGEMM_NR];             /* sums start here, less what depends on the row: */
    uint32_t zero[QGEMM_NR], w[QGEMM_NR]; /* times the row's zero point and times its sum */
    float scale[QGEMM_NR];
    int small; /* qt_small_avx2 */
} columns;

/* acc = sum a w - azp (colsum - k wzp) - wzp sum a + bias, and windows start off by `fix`. */
static void columns_make(const qgemm_block *b, size_t j, size_t cols, const qproof *proof, columns *c)
{
    memset(c, 0, sizeof *c);
    for (size_t x = 0; x < cols; x++) {
        const uint32_t zw = b->wzp ? (uint32_t)b->wzp[j + x] : 0;
        c->zero[x] = (uint32_t)b->colsum[j + x] - (uint32_t)b->k * zw;
        c->w[x] = zw;
        c->base[x] = b->tail->q.bias ? (uint32_t)b->tail->q.bias[j + x] : 0;
        c->base[x] -= proof ? (uint32_t)proof->fix[x] : 0;
        c->base[x] -= b->zero ? 0 : (uint32_t)b->azp * c->zero[x];
        c->scale[x] = b->tail->q.scale ? b->tail->q.scale[j + x] : 0;
    }
    c->small = qt_small_avx2(c->scale, QGEMM_NR);
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

void qgemm_panel_avx2(const qgemm_block *b, size_t panel)
{
    const size_t j = panel * QGEMM_NR, cols = min_size(QGEMM_NR, b->n - j);
    const int by_row = b->zero || b->row_sum;
    _Alignas(64) int32_t start[QGEMM_MR][QGEMM_NR], sum[QGEMM_MR][QGEMM_NR];
    columns c;
    qgemm_tile t = { .steps = b->steps, .w = b->w + panel * b->steps * QGEMM_STEP, .wide = b->wide,
                     .proof = b->proof ? b->proof + panel : NULL,
                     .from = (const int32_t(*)[QGEMM_NR])start, .sum = sum };
    if (!t.proof || !t.proof->window)
        qgemm_widen(b->steps, t.w, b->wide);
    columns_make(b, j, cols, t.proof, &c);
    start_rows(b, 0, &c, (uint32_t(*)[QGEMM_NR])start);
    for (size_t r = 0; r < b->rows; r += QGEMM_MR) {
        const size_t rows = min_size(QGEMM_MR, b->rows - r);
        if (by_row && r)
            start_rows(b, r, &c, (uint32_t(*)[QGEMM_NR])start);
        t.row = b->row + r;
        t.offset = b->offset ? b->offset[r / QGEMM_MR] : NULL;
        qgemm_tile_avx2(&t, rows);
        uint8_t *out = (uint8_t *)b->out + ((b->i + r) * b->ldo + j) * b->tail->bytes;
        qtail_rows_avx2(b->tail, b->i + r, j, rows, cols, sum, c.scale, c.small, out, b->ldo);
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
    int16_t *wide;
} room;

/* The bytes of a room; with `scratch`, also the room. */
static size_t room_make(const pcx_qgemm_args *p, char *scratch, room *r)
{
    const size_t rows = qgemm_split(p).rows, steps = ceil_div(p->k, 4);
    const size_t zero = round_up(rows * sizeof *r->row, 64), row_sum = zero + round_up(rows * 4, 64);
    const size_t spare = row_sum + round_up(rows * 4, 64), wide = spare + round_up(SPARES * steps * 4, 64);
    if (scratch)
        *r = (room){ (const uint8_t **)scratch, (int32_t *)(scratch + zero), (uint32_t *)(scratch + row_sum),
                     (uint8_t *)scratch + spare, (int16_t *)(scratch + wide) };
    return wide + QGEMM_WIDE(steps);
}

size_t qgemm_avx2_scratch(const void *args) { return room_make(args, NULL, NULL); }

/*
 * Row i of `a`, readable in whole steps: past its k bytes, meeting zero weights, another row may
 * stand, but not the end of `a`.  Of the last rows a padded copy is made: of one if lda >= 3, of
 * three if lda is 1; with lda 0 there is but one row.
 */
static const uint8_t *readable(const pcx_qgemm_args *p, size_t i, uint8_t *spare)
{
    const uint8_t *row = p->a + i * p->lda;
    const size_t width = round_up(p->k, 4), past = width - p->k, after = p->m - 1 - i;
    if (p->lda ? after >= past || after * p->lda >= past : !past)
        return row;
    spare += (p->lda ? after : 0) * width;
    memcpy(spare, row, p->k);
    memset(spare + p->k, 0, past);
    return spare;
}

static void rows_make(const pcx_qgemm_args *p, size_t i, size_t rows, room *r)
{
    for (size_t x = 0; x < round_up(rows, QGEMM_MR); x++)
        r->row[x] = x < rows ? readable(p, i + x, r->spare) : r->row[rows - 1];
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
                      .w = p->w, .colsum = p->colsum, .wzp = p->wzp, .proof = p->prepared, .wide = r.wide,
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
    return qproof_bytes(ceil_div(p->n, QGEMM_NR), ceil_div(p->k, 4));
}

void qgemm_prepare(const void *args, void *prepared)
{
    const pcx_qgemm_args *p = args;
    qproof_make(ceil_div(p->n, QGEMM_NR), ceil_div(p->k, 4), p->w, prepared);
}

PCX_TARGET_END
#endif
