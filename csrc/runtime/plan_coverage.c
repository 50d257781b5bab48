/* plan_coverage.c - see plan_coverage.h.  Exact: an array is looked at row by row, without the gaps between its rows. */
#include "plan_coverage.h"

#include <stdlib.h>

enum { WORD = 64 };

coverage coverage_new(size_t bytes)
{
    coverage c = { NULL, bytes, 0 };
    if (bytes)
        c.bits = calloc(ceil_div(bytes, WORD), sizeof *c.bits); /* pages that nobody touches take no memory */
    c.unsure = bytes && !c.bits;
    return c;
}

void coverage_free(coverage *c)
{
    free(c->bits);
    c->bits = NULL;
}

/* Set some bits of a word, or tell which of them are not set. */
static uint64_t plan_coverage_part(uint64_t *word, uint64_t mask, int set)
{
    const uint64_t missing = mask & ~*word;
    if (set)
        *word |= mask;
    return missing;
}

/* Set the bytes [begin, end), or tell whether all are set. */
static int plan_coverage_range(coverage *c, size_t begin, size_t end, int set)
{
    const size_t first = begin / WORD, last = (end - 1) / WORD;
    const uint64_t from = ~(uint64_t)0 << begin % WORD, to = ~(uint64_t)0 >> (WORD - 1 - (end - 1) % WORD);
    if (first == last)
        return !plan_coverage_part(c->bits + first, from & to, set);
    uint64_t missing = plan_coverage_part(c->bits + first, from, set) | plan_coverage_part(c->bits + last, to, set);
    if (set)
        memset(c->bits + first + 1, 0xff, (last - first - 1) * sizeof *c->bits);
    else
        for (size_t i = first + 1; i < last; i++)
            missing |= ~c->bits[i];
    return !missing;
}

/* Take `cost` off the effort that is left, if it suffices. */
static int plan_coverage_pay(size_t *effort, size_t cost)
{
    const int enough = *effort >= cost;
    *effort = enough ? *effort - cost : 0;
    return enough;
}

/* The dims of an array around the bytes that lie together. */
typedef struct {
    size_t run, rank, count; /* bytes together; dims; how many runs */
    size_t length[CONTRACT_DIMS], stride[CONTRACT_DIMS]; /* innermost first, in bytes */
} coverage_rows;

static coverage_rows plan_coverage_rows_of(const extent *e)
{
    coverage_rows r = { .run = e->element, .count = 1 };
    for (size_t i = e->rank; i-- > 0;) {
        const size_t bytes = (size_t)e->stride[i] * e->element;
        if (e->length[i] == 1 || !bytes) /* repeated: the same bytes again */
            continue;
        if (!r.rank && bytes == r.run) {
            r.run *= e->length[i];
            continue;
        }
        r.length[r.rank] = e->length[i];
        r.stride[r.rank++] = bytes;
        if (PCX_MUL_OVERFLOW(r.count, e->length[i], &r.count))
            r.count = SIZE_MAX;
    }
    return r;
}

static void plan_coverage_visit(coverage *c, size_t offset, const extent *e, size_t *effort, int set)
{
    if (c->unsure || !e->count)
        return;
    const coverage_rows r = plan_coverage_rows_of(e);
    size_t cost, index[CONTRACT_DIMS] = { 0 };
    if (PCX_MUL_OVERFLOW(r.count, 1 + r.run / WORD, &cost) || !plan_coverage_pay(effort, cost)) {
        c->unsure = 1;
        return;
    }
    for (;;) {
        if (!plan_coverage_range(c, offset, offset + r.run, set) && !set) {
            c->unsure = 1;
            return;
        }
        size_t d = 0;
        for (; d < r.rank && ++index[d] == r.length[d]; d++) {
            offset -= (r.length[d] - 1) * r.stride[d];
            index[d] = 0;
        }
        if (d == r.rank)
            return;
        offset += r.stride[d];
    }
}

void coverage_write(coverage *c, size_t offset, const extent *e, size_t *effort) { plan_coverage_visit(c, offset, e, effort, 1); }

void coverage_read(coverage *c, size_t offset, const extent *e, size_t *effort) { plan_coverage_visit(c, offset, e, effort, 0); }

int coverage_whole(const coverage *c, size_t *effort)
{
    coverage whole = *c;
    return !c->bytes || (!c->unsure && plan_coverage_pay(effort, c->bytes / WORD) && plan_coverage_range(&whole, 0, c->bytes, 0));
}
