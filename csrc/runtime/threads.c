/*
 * threads.c - the pool.
 *
 * A run is one fork: the caller opens the gate, workers pass it and go through the tasks together
 * with the caller, and the caller closes it and waits until the last one has left.  A worker that
 * wakes too late finds the gate shut and nobody waits for it.
 *
 * Each thread has its share of a task's units, the same part of every task, as far as that goes: what it
 * reads then lies in its own cache, for the task before wrote it there.  It claims its share in
 * shrinking chunks, and then what is left of the others'.  Whoever finishes a task's last unit runs the
 * small tasks that follow alone and opens the next large one: nobody waits for a thread that holds
 * no units.  Those who wait spin for a while and then sleep.  Workers run on any CPU but the caller's.
 */
#define _GNU_SOURCE
#include "threads.h"

#include "process.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define SPIN_SECONDS 50e-6
enum { LEAVE = 4 }; /* a claim leaves 1/LEAVE of what is left of a share, for others if this thread is slow */

/*
 * How far a share is claimed: the task + 1 it speaks of, and the next unit.  Of a later task than that, nothing is
 * claimed yet; of an earlier one, everything.
 */
enum { UNIT_BITS = 44 };
#define UNITS ((uint64_t)1 << UNIT_BITS)

typedef struct crew crew;

/* A thread of a run: the caller, index 0, or one of the crew's own. */
typedef struct {
    _Alignas(64) _Atomic(uint64_t) claimed; /* of this thread's share, by anyone */
    crew *crew;
    size_t index;
    pthread_t id;
} worker;

/* The threads of one process.  fork() copies its memory but not its threads: the child makes another. */
struct crew {
    crew *older; /* a parent process's, kept because threads of this one may be reading it */
    int process; /* its number, see process.h */
    pthread_mutex_t turn; /* held during a run */
    pthread_mutex_t lock; /* of `change` */
    pthread_cond_t change;
    size_t want, workers;

    const task_list *list;
    double start;
    double began; /* the running task; only whoever opens and ends tasks writes it */

    _Alignas(64) atomic_size_t sleepers;
    _Alignas(64) atomic_size_t round; /* goes up when a run starts, and at the end */
    _Alignas(64) atomic_size_t gate;  /* 1: open; + 2 for each worker inside */
    _Alignas(64) atomic_size_t stage; /* the task in progress */
    atomic_int over;
    int caller; /* the CPU on which the caller of the last run was, which workers keep off; -1: none */
    worker worker[]; /* the caller's first */
};

struct pcx_threads {
    size_t threads;
    process_mark mark;
    _Atomic(crew *) crew;
};

/* ---- waiting ---- */

/* Wait until `word` is no longer `old`; the new value.  `who`, unless NULL, is asked meanwhile. */
static size_t threads_wait_change(crew *c, atomic_size_t *word, size_t old, asking *who)
{
    size_t value = atomic_load_explicit(word, memory_order_acquire);
    if (value != old)
        return value;
    double until = 0;
    do {
        for (int i = 0; i < 64; i++) {
            value = atomic_load_explicit(word, memory_order_acquire);
            if (value != old)
                return value;
            PCX_PAUSE();
        }
        until = until > 0 ? until : asking_now() + SPIN_SECONDS;
    } while (asking_now() < until);
    pthread_mutex_lock(&c->lock);
    atomic_fetch_add(&c->sleepers, 1); /* seq_cst, like the writer's store and its look at `sleepers` */
    while ((value = atomic_load(word)) == old) {
        if (!who) {
            pthread_cond_wait(&c->change, &c->lock);
            continue;
        }
        const struct timespec soon = asking_soon();
        pthread_cond_timedwait(&c->change, &c->lock, &soon);
        pthread_mutex_unlock(&c->lock);
        asking_ask(who);
        pthread_mutex_lock(&c->lock);
    }
    atomic_fetch_sub(&c->sleepers, 1);
    pthread_mutex_unlock(&c->lock);
    return value;
}

/* To be called after a seq_cst write to a word that others may wait for. */
static void threads_announce(crew *c)
{
    if (!atomic_load(&c->sleepers))
        return;
    pthread_mutex_lock(&c->lock);
    pthread_cond_broadcast(&c->change);
    pthread_mutex_unlock(&c->lock);
}

/* ---- tasks ---- */

static void threads_note(const task_list *list, size_t at, double began, double ended, double start)
{
    list->seconds[2 * at] = began - start;
    list->seconds[2 * at + 1] = ended - start;
}

/* Units [begin, end) of a task; `caller`: this is the thread that may stop the run. */
static void threads_run_units(const task_list *list, const task *one, size_t begin, size_t end, char *scratch, int caller)
{
    if (list->asking)
        asking_run(list->asking, one->impl, one->args, begin, end, scratch, one->large, caller);
    else
        one->impl->run(one->args, begin, end, scratch);
}

/* Run tasks from `at` on by this thread alone while they are small; the first that is not. */
static size_t threads_run_whole(const task_list *list, size_t at, char *scratch, double start, int alone, int caller)
{
    for (; at < list->count; at++) {
        const task *one = list->tasks + at;
        if (!alone && !one->whole && one->units > 1 && one->units < UNITS)
            break;
        const double began = list->seconds ? asking_now() : 0;
        if (one->units)
            threads_run_units(list, one, 0, one->units, scratch, caller);
        if (list->seconds)
            threads_note(list, at, began, asking_now(), start);
    }
    return at;
}

/* Run the small tasks from `at` on and open the large one after them. */
static size_t threads_proceed(crew *c, size_t at, char *scratch, int caller)
{
    const task_list *list = c->list;
    at = threads_run_whole(list, at, scratch, c->start, 0, caller);
    if (at < list->count && list->seconds)
        c->began = asking_now();
    atomic_store(&c->stage, at);
    threads_announce(c);
    return at;
}

/* Claim and run units of the share of `owner` until none are left; how many this thread did. */
static size_t threads_claim(const task_list *list, worker *owner, size_t threads, const task *one, uint64_t label,
                            char *scratch, int caller)
{
    const size_t first = one->units * owner->index / threads, end = one->units * (owner->index + 1) / threads;
    size_t mine = 0;
    uint64_t seen = atomic_load_explicit(&owner->claimed, memory_order_relaxed);
    while (seen >> UNIT_BITS <= label) {
        const size_t next = seen >> UNIT_BITS == label ? seen % UNITS : first;
        if (next == end)
            break;
        const size_t take = end - next - (end - next) / LEAVE;
        const uint64_t then = label << UNIT_BITS | (next + take);
        if (!atomic_compare_exchange_weak_explicit(&owner->claimed, &seen, then, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        threads_run_units(list, one, next, next + take, scratch, caller);
        mine += take;
        seen = atomic_load_explicit(&owner->claimed, memory_order_relaxed);
    }
    return mine;
}

/* What every thread of a run does, until the last task is done. */
static void threads_take_part(crew *c, size_t index)
{
    const task_list *list = c->list;
    char *scratch = list->scratch + index * list->each;
    size_t at = atomic_load_explicit(&c->stage, memory_order_acquire);
    while (at < list->count) {
        task *one = list->tasks + at;
        size_t mine = 0;
        for (size_t i = 0; i <= c->workers; i++)
            mine += threads_claim(list, c->worker + (index + i) % (c->workers + 1), c->workers + 1, one, at + 1, scratch,
                                  !index);
        if (mine && atomic_fetch_add(&one->done, mine) + mine == one->units) {
            if (list->seconds)
                threads_note(list, at, c->began, asking_now(), c->start);
            at = threads_proceed(c, at + 1, scratch, !index);
        } else {
            at = threads_wait_change(c, &c->stage, at, index ? NULL : list->asking);
        }
    }
}

static void *threads_work(void *arg)
{
    worker *w = arg;
    crew *c = w->crew;
    pcx_float_enter(); /* for good: the thread is ours */
    for (size_t round = 0;;) {
        round = threads_wait_change(c, &c->round, round, NULL);
        if (atomic_load(&c->over))
            return NULL;
        size_t gate = atomic_load(&c->gate);
        while ((gate & 1) && !atomic_compare_exchange_weak(&c->gate, &gate, gate + 2))
            ;
        if (!(gate & 1))
            continue;
        threads_take_part(c, w->index);
        if (atomic_fetch_sub(&c->gate, 2) == 2)
            threads_announce(c);
    }
}

/* ---- crews ---- */

static crew *threads_crew_new(size_t threads, int process)
{
    crew *c = threads_block_new(sizeof *c + threads * sizeof(worker));
    if (!c)
        return NULL;
    memset(c, 0, sizeof *c + threads * sizeof(worker));
    c->process = process;
    c->want = threads - 1;
    c->caller = -1;
    pthread_mutex_init(&c->turn, NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->change, NULL);
    return c;
}

/* Start the workers, with every signal blocked: signals are the embedder's.  Fewer will do. */
static void threads_crew_start(crew *c)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (c->workers < c->want) {
        worker *w = c->worker + c->workers + 1;
        w->crew = c;
        w->index = c->workers + 1;
        if (pthread_create(&w->id, NULL, threads_work, w))
            c->want = c->workers;
        else
            c->workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void threads_crew_free(crew *c, int process)
{
    if (c->process == process) {
        atomic_store(&c->over, 1);
        atomic_fetch_add(&c->round, 1);
        threads_announce(c);
        for (size_t i = 0; i < c->workers; i++)
            pthread_join(c->worker[i + 1].id, NULL);
        pthread_cond_destroy(&c->change);
        pthread_mutex_destroy(&c->lock);
        pthread_mutex_destroy(&c->turn);
    }
    free(c);
}

/* This process's crew, made if need be; NULL when out of memory. */
static crew *threads_crew_of(pcx_threads *pool)
{
    crew *c = atomic_load(&pool->crew);
    const int process = process_number(&pool->mark);
    while (!c || c->process != process) {
        crew *fresh = threads_crew_new(pool->threads, process);
        if (!fresh)
            return NULL;
        fresh->older = c;
        if (atomic_compare_exchange_strong(&pool->crew, &c, fresh))
            return fresh;
        threads_crew_free(fresh, process); /* another thread of this process was first */
    }
    return c;
}

/* ---- the pool ---- */

pcx_threads *pcx_threads_new(size_t threads)
{
    enum { MAX = 1024 };
    pcx_threads *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->threads = max_size(1, min_size(threads, MAX));
    if (process_mark_make(&pool->mark))
        return pool;
    free(pool);
    return NULL;
}

void pcx_threads_free(pcx_threads *pool)
{
    if (!pool)
        return;
    const int process = process_number(&pool->mark);
    for (crew *c = atomic_load(&pool->crew), *older; c; c = older) {
        older = c->older;
        threads_crew_free(c, process);
    }
    process_mark_free(&pool->mark);
    free(pool);
}

size_t pcx_threads_count(const pcx_threads *pool) { return pool ? pool->threads : 1; }

int threads_process(pcx_threads *pool) { return process_number(&pool->mark); }

/* Whether the turn came before `end`. */
static int threads_turn_by(crew *c, const struct timespec *end)
{
#if defined(__APPLE__) /* has no timed lock */
    const struct timespec pause = { .tv_nsec = 1000000 };
    struct timespec now;
    while (pthread_mutex_trylock(&c->turn)) {
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec > end->tv_sec || (now.tv_sec == end->tv_sec && now.tv_nsec >= end->tv_nsec))
            return 0;
        nanosleep(&pause, NULL);
    }
    return 1;
#else
    return !pthread_mutex_timedlock(&c->turn, end);
#endif
}

size_t threads_enter(pcx_threads *pool, asking *who)
{
    if (pcx_threads_count(pool) == 1)
        return 1;
    crew *c = threads_crew_of(pool);
    if (!c)
        return 0;
    if (!who)
        pthread_mutex_lock(&c->turn);
    for (struct timespec soon = asking_soon(); who && !threads_turn_by(c, &soon); soon = asking_soon()) {
        asking_ask(who);
        pcx_float_leave(who->mode);
        if (atomic_load(&who->stopped))
            return 0;
    }
    threads_crew_start(c);
    return c->workers + 1;
}

void threads_leave(pcx_threads *pool)
{
    if (pcx_threads_count(pool) > 1)
        pthread_mutex_unlock(&atomic_load(&pool->crew)->turn);
}

/*
 * Linux often wakes a worker on the CPU of the caller that wakes it, where it would not run before the caller sleeps: for
 * milliseconds, run after run.  So workers keep off the CPU where the caller is.  Where it may use no other one, the next run
 * tries again: workers made meanwhile may use no other one either.
 */
static void threads_spread(crew *c)
{
    const int here = cores_here();
    if (here == c->caller)
        return;
    c->caller = here;
    for (size_t i = 0; i < c->workers; i++)
        if (!cores_keep_off(c->worker[i + 1].id, here)) {
            c->caller = -1;
            return;
        }
}

void threads_run(pcx_threads *pool, const task_list *list)
{
    crew *c = pcx_threads_count(pool) > 1 ? atomic_load(&pool->crew) : NULL;
    const double start = list->seconds ? asking_now() : 0;
    const size_t first = threads_run_whole(list, 0, list->scratch, start, !c || !c->workers, 1);
    if (first == list->count)
        return;
    for (size_t i = 0; i < list->count; i++)
        atomic_store_explicit(&list->tasks[i].done, 0, memory_order_relaxed);
    for (size_t i = 0; i <= c->workers; i++)
        atomic_store_explicit(&c->worker[i].claimed, 0, memory_order_relaxed);
    c->list = list;
    threads_spread(c);
    c->start = start;
    threads_proceed(c, first, list->scratch, 1);
    atomic_store(&c->gate, 1);
    atomic_fetch_add(&c->round, 1);
    threads_announce(c);
    threads_take_part(c, 0);
    for (size_t gate = atomic_fetch_and(&c->gate, ~(size_t)1) & ~(size_t)1; gate;)
        gate = threads_wait_change(c, &c->gate, gate, list->asking);
}
