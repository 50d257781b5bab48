/* threads.h - how calls and plans use a pool: take a turn, run tasks, end the turn. */
#ifndef PCX_THREADS_H
#define PCX_THREADS_H

#include "asking.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* One kernel call of a run.  Whoever runs it fills the first four; `done` is the pool's. */
typedef struct {
    const pcx_impl *impl;
    void *args;
    size_t units;
    unsigned char whole; /* too little work to split */
    unsigned char large; /* so much that it is done in parts, where a run may be stopped */
    atomic_size_t done;
} task;

typedef struct {
    task *tasks;
    size_t count;
    char *scratch; /* `each` bytes a thread */
    size_t each;
    double *seconds; /* unless NULL: start and end of each task */
    asking *asking;  /* unless NULL */
} task_list;

/* The number of this process among those that `pool` was forked through, above 0. */
int threads_process(pcx_threads *pool);

/*
 * Wait for a turn on `pool` (NULL: this thread alone); the number of threads a run will have at most.  0 where there is no
 * memory, or the wait was stopped.  `who` may be NULL.
 */
size_t threads_enter(pcx_threads *pool, asking *who);
void threads_leave(pcx_threads *pool);

/* Run all tasks in order, each over the pool's threads; between threads_enter and threads_leave. */
void threads_run(pcx_threads *pool, const task_list *list);

/* Memory aligned to 64 bytes, or NULL; release with free. */
static inline void *threads_block_new(size_t bytes)
{
    return bytes > SIZE_MAX - 64 ? NULL : aligned_alloc(64, round_up(max_size(bytes, 1), 64));
}

/*
 * cores.c: the CPU on which this thread runs, -1 if unknown; `thread` may run on every other one this thread may use, 0
 * if there is none.
 */
PCX_HIDDEN int cores_here(void);
PCX_HIDDEN int cores_keep_off(pthread_t thread, int cpu);

#endif
