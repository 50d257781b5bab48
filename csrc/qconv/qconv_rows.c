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

/* Whether a window's lines are runs of bytes, of pixels without gaps. */
static int qconv_rows_dense(const pcx_qconv_args *p) { return p->dw == 1 && p->ldx == p->c && p->c % 4 == 0; }

/* As qconv_rows_gather, line by line. */
static void qconv_rows_gather_lines(const pcx_qconv_args *p, const qconv_place *at, uint8_t *to)
{
    const size_t before = (ptrdiff_t)at->x < 0 ? min_size(0 - at->x, p->kw) : 0; /* pixels left of the image */
    const size_t ends = (ptrdiff_t)(p->iw - at->x) > 0 ? min_size(p->iw - at->x, p->kw) : 0, inside = max_size(ends, before);
    for (size_t ky = 0; ky < p->kh; ky++, to += p->kw * p->c) {
        const size_t y = at->y + ky * p->dh;
        if (y >= p->ih || before == inside) {
            memset(to, (uint8_t)p->xzp[0], p->kw * p->c);
            continue;
        }
        memset(to, (uint8_t)p->xzp[0], before * p->c);
        memcpy(to + before * p->c, p->x + ((at->image * p->ih + y) * p->iw + at->x + before) * p->c,
               (inside - before) * p->c);
        memset(to + inside * p->c, (uint8_t)p->xzp[0], (p->kw - inside) * p->c);
    }
}

/* Gathers a window into one row: padding has the value xzp, incomplete steps are filled with zeros. */
static void qconv_rows_gather(const pcx_qconv_args *p, const qconv_place *at, uint8_t *to)
{
    const size_t width = round_up(p->c, 4);
    if (qconv_rows_dense(p)) {
        qconv_rows_gather_lines(p, at, to);
        return;
    }
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

/* Everything a block's rows need. */
typedef struct {
    const pcx_qconv_args *p;
    const qconv_grid *g;
    const qconv_workspace *space;
    size_t mr;         /* rows of a tile, */
    int lines;         /* in place only if of one line */
    size_t tall, wide; /* from the first to the last pixel of a window */
    size_t last;       /* from its first to the last byte read */
    size_t end;        /* bytes of x */
} qconv_source;

/* A pixel of the output and its place: where one follows another, without divisions, which are slow. */
typedef struct {
    qconv_place at;
    size_t oy, ox;
} qconv_cursor;

static qconv_cursor qconv_rows_cursor(const pcx_qconv_args *p, size_t pixel)
{
    return (qconv_cursor){ qconv_at(p, pixel), pixel / p->ow % p->oh, pixel % p->ow };
}

/* On by `count` pixels, which do not reach beyond the end of the line. */
static void qconv_rows_go_on(const pcx_qconv_args *p, qconv_cursor *c, size_t count)
{
    c->at.x += p->sw * count;
    c->ox += count;
    if (PCX_LIKELY(c->ox < p->ow))
        return;
    c->ox = 0;
    c->at.x = 0 - p->pl;
    c->at.y += p->sh;
    if (++c->oy < p->oh)
        return;
    c->oy = 0;
    c->at.y = 0 - p->pt;
    c->at.image++;
}

/* Rows of a block. */
typedef struct {
    size_t begin, end;
} qconv_range;

/*
 * Where the windows of `count` pixels of one line begin, the first at `at`: of those that can be read in place, and which
 * these are.
 */
static qconv_range qconv_rows_line(const qconv_source *s, const qconv_place *at, size_t count, const uint8_t **row)
{
    const pcx_qconv_args *p = s->p;
    const size_t ends = p->iw > s->wide ? p->iw - s->wide : 0; /* windows from there on reach beyond the line */
    const size_t step = p->sw * p->ldx;
    qconv_range in = { 0, 0 };
    if (p->wzp || !s->g->steps || at->y >= p->ih || at->y + s->tall >= p->ih || (ptrdiff_t)(ends - at->x) <= 0)
        return in;
    in.end = min_size(ceil_div(ends - at->x, p->sw), count);
    in.begin = (ptrdiff_t)at->x < 0 ? min_size(ceil_div(0 - at->x, p->sw), in.end) : 0;
    const size_t first = ((at->image * p->ih + at->y) * p->iw + at->x + in.begin * p->sw) * p->ldx;
    while (in.begin < in.end && first + (in.end - in.begin - 1) * step + s->last >= s->end)
        in.end--;
    const uint8_t *to = p->x + first;
    for (size_t x = in.begin; x < in.end; x++, to += step)
        row[x] = to;
    return in;
}

/* The rows [begin, end) of the block cannot be read in place. */
static void qconv_rows_not_in_place(const qconv_source *s, size_t begin, size_t end)
{
    if (begin < end)
        memset(s->space->in_place + begin / s->mr, 0, (end - 1) / s->mr - begin / s->mr + 1);
}

/* The tile from row x of the block on: its windows, of which the first is at `c`, below the block the last one again. */
static void qconv_rows_gather_tile(const qconv_source *s, qconv_cursor c, size_t x, size_t rows)
{
    const qconv_workspace *r = s->space;
    for (size_t y = x; y < x + s->mr; y++) {
        uint8_t *to = r->gathered + y * s->g->steps * 4;
        r->row[y] = to;
        if (s->g->steps && s->p->c <= 4)
            qconv_rows_gather_colours(s->p, &c.at, s->p->x + s->end, to);
        else if (s->g->steps)
            qconv_rows_gather(s->p, &c.at, to);
        if (s->p->wzp) {
            r->row_sum[y] = 0;
            for (size_t q = 0; q < s->g->steps * 4; q++)
                r->row_sum[y] += to[q];
        }
        if (y + 1 < rows)
            qconv_rows_go_on(s->p, &c, 1);
    }
}

/* The block of rows from pixel `top` on: line by line where windows begin, then the tiles that are not in place. */
static void qconv_rows_make(const qconv_source *s, size_t top, size_t rows)
{
    const pcx_qconv_args *p = s->p;
    const uint8_t **row = s->space->row;
    const size_t all = round_up(rows, s->mr);
    qconv_cursor c = qconv_rows_cursor(p, top);
    size_t tile = 0, column = c.ox;
    memset(s->space->in_place, 1, all / s->mr);
    for (size_t x = 0, count; x < rows; x += count) {
        count = min_size(rows - x, p->ow - c.ox);
        const qconv_range in = qconv_rows_line(s, &c.at, count, row + x);
        qconv_rows_not_in_place(s, x, x + in.begin);
        qconv_rows_not_in_place(s, x + in.end, x + count);
        qconv_rows_go_on(p, &c, count);
    }
    for (size_t x = rows; x < all; x++)
        row[x] = row[rows - 1];
    for (size_t x = 0; x < rows; x += s->mr, tile++) {
        if (s->lines && (rows - x < s->mr || p->ow - column < s->mr))
            s->space->in_place[tile] = 0;
        if (!s->space->in_place[tile])
            qconv_rows_gather_tile(s, qconv_rows_cursor(p, top + x), x, rows);
        for (column += s->mr; column >= p->ow;)
            column -= p->ow;
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
