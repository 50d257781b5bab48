/*
 * qconv_rows.c - the driver: blocks of output pixels through a micro-kernel of qgemm.  A pixel whose window lies inside
 * the image is read in place, by a table of the steps' offsets; the others are gathered.
 */
#include "qconv.h"

/* What a thread needs, cut from its scratch. */
typedef struct {
    const uint8_t **row;
    unsigned char *in_place; /* of each tile */
    ptrdiff_t *table;
    uint32_t *row_sum;
    uint8_t *gathered; /* [rows][steps] steps */
    char *micro;       /* the micro-kernel's own */
} qconv_workspace;

/*
 * Rows of a tile.  Where tiles are of one line, fewer than mr if they make up a line, unless most of them meet padding.
 */
static size_t qconv_rows_mr(const pcx_qconv_args *p, const qgemm_micro *micro)
{
    const size_t tiles = ceil_div(p->ow, micro->mr), each = ceil_div(p->ow, max_size(tiles, 1));
    return micro->lines && 2 * each >= micro->mr && each * tiles == p->ow && (tiles > 2 || !p->pl) ? each : micro->mr;
}

static qconv_grid qconv_rows_grid(const pcx_qconv_args *p, const qgemm_micro *micro)
{
    return qconv_split(p, qconv_rows_mr(p, micro), micro->near ? micro->near : QGEMM_NEAR);
}

/* The bytes of a workspace; with `scratch`, also the workspace. */
static size_t qconv_rows_workspace(const qconv_grid *g, size_t mr, const qgemm_micro *micro, char *scratch,
                                   qconv_workspace *to)
{
    const size_t in_place = round_up(g->rows * 8, 64), table = in_place + round_up(g->rows / mr, 64);
    const size_t row_sum = table + round_up(g->steps * 8, 64), gathered = row_sum + round_up(g->rows * 4, 64);
    const size_t own = gathered + round_up(g->rows * g->steps * 4, 64);
    if (scratch)
        *to = (qconv_workspace){ (const uint8_t **)scratch, (unsigned char *)scratch + in_place,
                                 (ptrdiff_t *)(scratch + table), (uint32_t *)(scratch + row_sum),
                                 (uint8_t *)scratch + gathered, scratch + own };
    return own + (micro->scratch ? micro->scratch(g->steps) : 0);
}

size_t qconv_rows_scratch(const void *args, const qgemm_micro *micro)
{
    const qconv_grid g = qconv_rows_grid(args, micro);
    return qconv_rows_workspace(&g, qconv_rows_mr(args, micro), micro, NULL, NULL);
}

size_t qconv_rows_units(const void *args, const qgemm_micro *micro)
{
    const qconv_grid g = qconv_rows_grid(args, micro);
    return g.blocks * g.groups;
}

/* The offset of each step from the window's first byte; returns that of the last byte read. */
static size_t qconv_rows_table(const pcx_qconv_args *p, ptrdiff_t *table)
{
    ptrdiff_t *to = table;
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++)
            for (size_t q = 0; q < p->c; q += 4)
                *to++ = (ptrdiff_t)((ky * p->dh * p->iw + kx * p->dw) * p->ldx + q);
    return (size_t)to[-1] + 3;
}

/* Gathers a window into one row: padding has the value xzp, incomplete steps are filled with zeros. */
static void qconv_rows_gather(const pcx_qconv_args *p, const qconv_place *at, uint8_t *to)
{
    const size_t width = round_up(p->c, 4);
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++, to += width) {
            const uint8_t *x = qconv_tap(p, at, ky, kx);
            if (x)
                memcpy(to, x, p->c);
            else
                memset(to, (uint8_t)p->xzp[0], p->c);
            memset(to + p->c, 0, width - p->c);
        }
}

/* The same for at most four channels, an image's colours: `end` is that of x. */
static void qconv_rows_gather_colours(const pcx_qconv_args *p, const qconv_place *at, const uint8_t *end, uint8_t *to)
{
    const uint32_t mask = p->c < 4 ? (1u << 8 * p->c) - 1 : ~0u;
    for (size_t ky = 0; ky < p->kh; ky++)
        for (size_t kx = 0; kx < p->kw; kx++, to += 4) {
            const uint8_t *x = qconv_tap(p, at, ky, kx);
            uint32_t four = (uint8_t)p->xzp[0] * 0x01010101u;
            if (x && end - x >= 4)
                memcpy(&four, x, 4);
            else if (x)
                memcpy(&four, x, p->c);
            four &= mask;
            memcpy(to, &four, 4);
        }
}

/* Everything a block's rows need, tile by tile. */
typedef struct {
    const pcx_qconv_args *p;
    const qconv_grid *g;
    const qconv_workspace *space;
    size_t mr;         /* rows of a tile, */
    int lines;         /* in place only if of one line */
    size_t tall, wide; /* from the first to the last pixel of a window */
    size_t last;       /* from its first to the last byte read */
    size_t end;        /* bytes of x */
    qconv_place at;    /* the pixel that comes next, and its place in the output: divisions are slow */
    size_t oy, ox;
} qconv_source;

static void qconv_rows_go_to(qconv_source *s, size_t pixel)
{
    s->at = qconv_at(s->p, pixel);
    s->ox = pixel % s->p->ow;
    s->oy = pixel / s->p->ow % s->p->oh;
}

/* On by `count` pixels, which do not reach beyond the end of the line. */
static void qconv_rows_go_on(qconv_source *s, size_t count)
{
    const pcx_qconv_args *p = s->p;
    s->at.x += p->sw * count;
    s->ox += count;
    if (PCX_LIKELY(s->ox < p->ow))
        return;
    s->ox = 0;
    s->at.x = 0 - p->pl;
    s->at.y += p->sh;
    if (++s->oy < p->oh)
        return;
    s->oy = 0;
    s->at.y = 0 - p->pt;
    s->at.image++;
}

/* The first byte of a window if it can be read in place, else NULL. */
static const uint8_t *qconv_rows_in_place(const qconv_source *s, const qconv_place *at)
{
    const pcx_qconv_args *p = s->p;
    /* y, tall < 2^62, so these do not wrap where y < ih */
    if (at->y >= p->ih || at->x >= p->iw || at->y + s->tall >= p->ih || at->x + s->wide >= p->iw || p->wzp)
        return NULL;
    const size_t first = ((at->image * p->ih + at->y) * p->iw + at->x) * p->ldx;
    return first + s->last < s->end ? p->x + first : NULL;
}

/* A whole tile of pixels of one line, if they can be read in place. */
static int qconv_rows_line_in_place(const qconv_source *s, size_t rows, const uint8_t **row)
{
    const pcx_qconv_args *p = s->p;
    if (rows < s->mr || p->ow - s->ox < s->mr || !s->g->steps)
        return 0;
    qconv_place last = s->at;
    last.x += (s->mr - 1) * p->sw;
    const uint8_t *first = qconv_rows_in_place(s, &s->at);
    if (!first || !qconv_rows_in_place(s, &last))
        return 0;
    for (size_t y = 0; y < s->mr; y++)
        row[y] = first + y * p->sw * p->ldx;
    return 1;
}

static void qconv_rows_gather_tile(const qconv_source *s, const qconv_place *at, size_t x)
{
    const qconv_workspace *r = s->space;
    for (size_t y = x; y < x + s->mr; y++) {
        uint8_t *to = r->gathered + y * s->g->steps * 4;
        r->row[y] = to;
        if (s->g->steps && s->p->c <= 4)
            qconv_rows_gather_colours(s->p, &at[y - x], s->p->x + s->end, to);
        else if (s->g->steps)
            qconv_rows_gather(s->p, &at[y - x], to);
        if (s->p->wzp) {
            r->row_sum[y] = 0;
            for (size_t q = 0; q < s->g->steps * 4; q++)
                r->row_sum[y] += to[q];
        }
    }
}

static void qconv_rows_make(qconv_source *s, size_t top, size_t rows)
{
    const qconv_workspace *r = s->space;
    const size_t mr = s->mr;
    qconv_rows_go_to(s, top);
    for (size_t x = 0; x < rows; x += mr) {
        qconv_place at[QGEMM_MR_MAX];
        const uint8_t **row = r->row + x;
        if (qconv_rows_line_in_place(s, rows - x, row)) {
            r->in_place[x / mr] = 1;
            qconv_rows_go_on(s, mr);
            continue;
        }
        int whole = s->g->steps > 0 && !s->lines;
        for (size_t y = 0; y < mr; y++) { /* below the block, the last pixel again */
            at[y] = s->at;
            row[y] = qconv_rows_in_place(s, &s->at);
            whole &= row[y] != NULL;
            if (x + y + 1 < rows)
                qconv_rows_go_on(s, 1);
        }
        r->in_place[x / mr] = (unsigned char)whole;
        if (!whole)
            qconv_rows_gather_tile(s, at, x);
    }
}

void qconv_rows_run(const void *args, size_t begin, size_t end, void *scratch, const qgemm_micro *micro)
{
    const pcx_qconv_args *p = args;
    const qconv_grid g = qconv_rows_grid(p, micro);
    const qepilogue tail = qepilogue_make(&p->tail, p->ot);
    const size_t mr = qconv_rows_mr(p, micro);
    qconv_workspace space = { 0 };
    if (begin >= end)
        return;
    qconv_rows_workspace(&g, mr, micro, scratch, &space);
    qconv_source s = { .p = p, .g = &g, .space = &space, .mr = mr, .lines = micro->lines,
                       .tall = (p->kh - 1) * p->dh, .wide = (p->kw - 1) * p->dw };
    if (g.steps) {
        s.last = qconv_rows_table(p, space.table);
        s.end = p->ldx ? (p->b * p->ih * p->iw - 1) * p->ldx + p->c : p->c;
    }
    qgemm_block b = { .row = space.row, .table = space.table, .in_place = space.in_place,
                      .mr = mr, .together = qconv_together(p), .azp = p->xzp[0],
                      .row_sum = p->wzp ? space.row_sum : NULL, .k = p->kh * p->kw * p->c, .steps = g.steps, .n = p->n,
                      .w = p->w, .colsum = p->colsum, .wzp = p->wzp, .prepared = p->prepared, .scratch = space.micro,
                      .tail = &tail, .out = p->out, .ldo = p->ldo };
    if (micro->enter)
        micro->enter(&b);
    for (size_t u = begin; u < end; u++) {
        if (u == begin || u % g.groups == 0) {
            b.i = u / g.groups * g.rows;
            b.rows = min_size(g.rows, g.pixels - b.i);
            qconv_rows_make(&s, b.i, b.rows);
        }
        const size_t group = u % g.groups, first = qgemm_group_begin(g.panels, g.groups, group);
        const size_t last = qgemm_group_begin(g.panels, g.groups, group + 1);
        for (size_t panel = first; panel < last; panel += micro->panels)
            micro->run(&b, panel, min_size(micro->panels, last - panel));
    }
    if (micro->leave)
        micro->leave(&b);
}

size_t qconv_rows_prepared(const void *args)
{
    const qconv_grid g = qconv_split(args, 1, QGEMM_NEAR);
    return qgemm_acc16_bytes(g.panels, g.steps);
}

void qconv_rows_prepare(const void *args, void *prepared)
{
    const qconv_grid g = qconv_split(args, 1, QGEMM_NEAR);
    qgemm_acc16_make(g.panels, g.steps, ((const pcx_qconv_args *)args)->w, prepared);
}
