/* process.h - tells a process from the one that it was forked from. */
#ifndef PCX_PROCESS_H
#define PCX_PROCESS_H

#include "../common/pcx.h"

#include <stdatomic.h>

/*
 * A pid does not tell them apart: in PID namespaces of their own parent and child may have the same one.  So a page that
 * fork() leaves empty in the child (Linux 4.14) holds a number; pids are what is left where there is none.
 */
typedef struct {
    _Atomic(int) *page;
    atomic_int last; /* the number given last to this process or one before it */
} process_mark;

/* 0 when out of memory. */
PCX_HIDDEN int process_mark_make(process_mark *m);
PCX_HIDDEN void process_mark_free(process_mark *m);

/* A number above 0 that is this process's alone among those that this mark was forked through. */
PCX_HIDDEN int process_number(process_mark *m);

#endif
