/*
 * walk.h - elementwise work on strided arrays, row by row.
 *
 * Dims of extent 1 are dropped, and neighbouring dims are merged where every operand allows it, so that rows are as
 * long as possible.  A unit of work is WALK_CHUNK elements: many short rows or a part of a long one.
 */
#ifndef PCX_WALK_H
#define PCX_WALK_H

#include "pcx.h"

enum { WALK_DIMS = 7, WALK_OPERANDS = 4, WALK_CHUNK = 2048 };

typedef struct {
    size_t operands, rank;
    size_t count[WALK_DIMS];                 /* innermost last */
    size_t stride[WALK_OPERANDS][WALK_DIMS]; /* of each operand, in its elements */
    size_t rows, row_units, rows_per_unit;   /* set by walk_finish */
} walk;

typedef struct {
    size_t unit, end, row, stop; /* rows [row, stop) of the current unit are still to come */
    size_t index[WALK_DIMS];
    size_t offset[WALK_OPERANDS]; /* of the current row's first element */
    size_t n;                     /* its length; its strides are walk_step() */
} walk_at;

/* The slots of an argument struct from `field` on. */
#define WALK_SLOTS(args, type, field) ((const size_t *)(const void *)((const char *)(args) + offsetof(type, field)))

/* Operand k's strides from argument slots that are `step` slots apart; `rank` dims. */
PCX_INLINE void walk_strides(walk *w, size_t k, const size_t *slots, size_t step)
{
    for (size_t i = 0; i < w->rank; i++)
        w->stride[k][i] = slots[i * step];
}

/* `rank` extents, of arrays with `operands` operands, from slots that are `step` apart. */
PCX_INLINE void walk_extents(walk *w, size_t operands, size_t rank, const size_t *slots, size_t step)
{
    w->operands = operands;
    w->rank = rank;
    for (size_t i = 0; i < rank; i++)
        w->count[i] = slots[i * step];
}

PCX_INLINE size_t walk_step(const walk *w, size_t k) { return w->stride[k][w->rank - 1]; }

static inline void walk_move(walk *w, size_t to, size_t from)
{
    w->count[to] = w->count[from];
    for (size_t k = 0; k < w->operands; k++)
        w->stride[k][to] = w->stride[k][from];
}

static inline int walk_mergeable(const walk *w, size_t outer, size_t inner)
{
    for (size_t k = 0; k < w->operands; k++)
        if (w->stride[k][outer] != w->stride[k][inner] * w->count[inner])
            return 0;
    return 1;
}

/* Merge dims; the rank becomes at least 1, and without elements there is a dim of extent 0. */
static inline void walk_merge(walk *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->rank; i++) {
        if (w->count[i] == 1)
            continue;
        if (kept && walk_mergeable(w, kept - 1, i)) {
            const size_t outer = w->count[kept - 1];
            walk_move(w, kept - 1, i);
            w->count[kept - 1] *= outer;
        } else {
            walk_move(w, kept++, i);
        }
    }
    if (!kept) {
        w->count[kept] = 1;
        for (size_t k = 0; k < w->operands; k++)
            w->stride[k][kept] = 1;
        kept++;
    }
    w->rank = kept;
}

/* Merge, and lay out the units of work. */
static inline void walk_finish(walk *w)
{
    walk_merge(w);
    const size_t n = w->count[w->rank - 1];
    w->rows = n != 0;
    for (size_t i = 0; i + 1 < w->rank; i++)
        w->rows *= w->count[i];
    w->row_units = n > WALK_CHUNK ? ceil_div(n, WALK_CHUNK) : 1;
    w->rows_per_unit = n && n <= WALK_CHUNK ? WALK_CHUNK / n : 1;
}

static inline size_t walk_units(const walk *w) { return ceil_div(w->rows, w->rows_per_unit) * w->row_units; }

static inline walk_at walk_range(size_t begin, size_t end)
{
    walk_at at = { .unit = begin, .end = end };
    return at;
}

static inline void walk_seek(walk_at *at, const walk *w)
{
    const size_t column = at->unit % w->row_units * WALK_CHUNK, inner = w->rank - 1;
    at->row = at->unit / w->row_units * w->rows_per_unit;
    at->stop = min_size(at->row + w->rows_per_unit, w->rows);
    at->n = w->row_units > 1 ? min_size(w->count[inner] - column, WALK_CHUNK) : w->count[inner];
    for (size_t k = 0; k < w->operands; k++)
        at->offset[k] = column * w->stride[k][inner];
    size_t rest = at->row;
    for (size_t i = inner; i-- > 0;) {
        at->index[i] = rest % w->count[i];
        rest /= w->count[i];
        for (size_t k = 0; k < w->operands; k++)
            at->offset[k] += at->index[i] * w->stride[k][i];
    }
    at->unit++;
}

static inline void walk_advance(walk_at *at, const walk *w)
{
    for (size_t i = w->rank - 1; i-- > 0;) {
        const size_t back = ++at->index[i] == w->count[i] ? w->count[i] : 0;
        for (size_t k = 0; k < w->operands; k++)
            at->offset[k] += w->stride[k][i] - back * w->stride[k][i];
        if (!back)
            return;
        at->index[i] = 0;
    }
}

/* To the next row of the range; 0 when there is none.  `while (walk_next(&at, &w))`. */
static inline int walk_next(walk_at *at, const walk *w)
{
    if (at->row == at->stop) {
        if (at->unit >= at->end || !w->rows)
            return 0;
        walk_seek(at, w);
    } else {
        walk_advance(at, w);
    }
    at->row++;
    return 1;
}

#endif
