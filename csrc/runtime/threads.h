/* threads.h - how calls and plans use a pool: take a turn, run tasks, end the turn. */
#ifndef PCX_THREADS_H
#define PCX_THREADS_H

#include "../common/pcx.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* One kernel call of a run.  Whoever runs it fills the first four; `done` is the pool's. */
typedef struct {
    const pcx_impl *impl;
    void *args;
    size_t units;
    size_t whole; /* too little work to split */
    atomic_size_t done;
} task;

typedef struct {
    task *tasks;
    size_t count;
    char *scratch; /* `each` bytes a thread */
    size_t each;
    double *seconds; /* unless NULL: start and end of each task */
} task_list;

/* Wait for a turn on `pool` (NULL: this thread alone); the number of threads a run will have at most. */
size_t threads_enter(pcx_threads *pool);
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
