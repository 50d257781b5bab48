/* plan_coverage.h - tracks which bytes of a program's arena and outputs its steps write before they read them. */
#ifndef PCX_PLAN_COVERAGE_H
#define PCX_PLAN_COVERAGE_H

#include "contract.h"

/* A region, a bit for each byte that was written; `unsure` once a byte is read that was not, or where it is not known. */
typedef struct {
    uint64_t *bits;
    size_t bytes;
    int unsure;
} coverage;

/* A region of so many bytes, nothing of which is written. */
coverage coverage_new(size_t bytes);
void coverage_free(coverage *c);

/*
 * The elements of an array that begins at byte `offset`.  `*effort` is what all of a plan's arrays may still cost: when it
 * is used up, regions are unsure.
 */
void coverage_write(coverage *c, size_t offset, const extent *e, size_t *effort);
void coverage_read(coverage *c, size_t offset, const extent *e, size_t *effort);

/* Whether every byte is written. */
int coverage_whole(const coverage *c, size_t *effort);

#endif
