/*
 * checks.c - what must hold of the C library in whatever it is built with; test_c_product.py and sanitize.py run it.
 *
 *     checks PLAN failures      no memory, no mapping, no thread at one call after the other: an error or the right bytes, no leak
 *     checks PLAN cycles N [B]  load, run and free N times: no memory is lost, the process grows by less than B bytes (1 MiB)
 *     checks PLAN threads N     several threads run one session N times each, others open and free theirs: the same bytes
 *     checks PLAN fork N        N times, a child goes on with its parent's session
 *     checks PLAN namespaces    so does a child in a PID namespace of its own, in which it has its parent's pid
 *     checks PLAN stop          a run that is told to ends soon, on one thread and on several; the next one is whole
 */
#define _GNU_SOURCE
#include "../../csrc/pycompress.h"
#include "wrapped.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a plan and its answer ---- */

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "checks: %s (call %ld fails)\n", what, (long)atomic_load(&fails_at));
        _exit(1);
    }
}

enum { PORTS = 16 };
typedef struct {
    void *inputs[PORTS], *outputs[PORTS], *right[PORTS];
    size_t bytes[PORTS], count;
} buffers;

static void buffers_make(buffers *b, const pcx_plan *plan)
{
    memset(b, 0, sizeof *b);
    b->count = pcx_plan_outputs(plan, 0);
    must(pcx_plan_inputs(plan, 0) <= PORTS && b->count <= PORTS, "too many ports");
    for (size_t i = 0; i < pcx_plan_inputs(plan, 0); i++) {
        const pcx_port *port = pcx_plan_input(plan, 0, i);
        unsigned char *bytes = b->inputs[i] = calloc(1, port->bytes + 1);
        for (size_t k = 0; k < port->bytes && port->dtype != PCX_BOOL; k++)
            bytes[k] = port->dtype == PCX_F32 && k % 4 == 3 ? 0x3f : (unsigned char)(k * 7 % 101);
    }
    for (size_t i = 0; i < b->count; i++) {
        b->bytes[i] = pcx_plan_output(plan, 0, i)->bytes;
        b->outputs[i] = calloc(1, b->bytes[i] + 1);
        b->right[i] = calloc(1, b->bytes[i] + 1);
    }
}

static void buffers_free(buffers *b)
{
    for (size_t i = 0; i < PORTS; i++) {
        free(b->inputs[i]);
        free(b->outputs[i]);
        free(b->right[i]);
    }
}

static int run(pcx_session *s, buffers *b, double *seconds)
{
    for (size_t i = 0; i < b->count; i++)
        memset(b->outputs[i], 0x5a, b->bytes[i]);
    return pcx_session_run(s, 0, (const void *const *)b->inputs, b->outputs, seconds);
}

static int right(const buffers *b)
{
    int same = 1;
    for (size_t i = 0; i < b->count; i++)
        same &= !memcmp(b->outputs[i], b->right[i], b->bytes[i]);
    return same;
}

/* Buffers that hold the right answer of the plan at `path`. */
static void answer(const char *path, buffers *b)
{
    char why[256];
    pcx_plan *plan;
    must(!pcx_plan_load(path, pcx_cpu(), &plan, why, sizeof why), why);
    pcx_session *s = pcx_session_new(plan, 1);
    buffers_make(b, plan);
    must(s && !run(s, b, NULL), "the plan does not run");
    for (size_t i = 0; i < b->count; i++)
        memcpy(b->right[i], b->outputs[i], b->bytes[i]);
    pcx_session_free(s);
    pcx_plan_free(plan);
}

#include "checks_stop.h"

/* ---- failures ---- */

/* An operator whose rows have all that the runtime allocates for: weights to prepare, and scratch. */
typedef struct {
    size_t n;
    const float *w;
    void *prepared;
    float *out;
} own_args;
static size_t own_units(const void *args) { return ((const own_args *)args)->n; }
static size_t own_bytes(const void *args) { return ((const own_args *)args)->n * sizeof(float); }
static void own_prepare(const void *args, void *made)
{
    const own_args *p = args;
    for (size_t i = 0; i < p->n; i++)
        ((float *)made)[i] = 2 * p->w[i];
}
static void own_run(const void *args, size_t begin, size_t end, void *scratch)
{
    const own_args *p = args;
    for (size_t i = begin; i < end; i++) {
        ((float *)scratch)[i] = p->prepared ? ((const float *)p->prepared)[i] : 2 * p->w[i];
        p->out[i] = ((const float *)scratch)[i] + 1;
    }
}
static const pcx_impl own_impls[] = { { "scalar", 0, own_units, own_run, own_bytes, own_bytes, own_prepare, NULL } };
static const pcx_kernel own = { "checks::Own", 1, "n w:f32[n] prepared:prepared out:f32[n]", own_impls };

static void tell(void *context, size_t step, const char *kernel, const char *isa, double start_, double end)
{
    *(size_t *)context += kernel && isa && step < SIZE_MAX && start_ <= end;
}

/* Load the plan and use all of it; PCX_* of the first call that fails, after which the same must work again. */
static int try_file(const char *path, buffers *b, size_t threads)
{
    char why[256] = "x";
    pcx_plan *plan;
    int code = pcx_plan_load(path, pcx_cpu(), &plan, why, sizeof why);
    must(!code == !!plan && !code == !*why, "a plan and a reason, or neither");
    if (code)
        return code;
    size_t told = 0;
    pcx_session *s = pcx_session_new(plan, threads);
    code = s ? run(s, b, NULL) : PCX_NO_MEMORY;
    must(code || right(b), "other bytes");
    if (!code)
        code = pcx_session_profile(s, 0, (const void *const *)b->inputs, b->outputs, tell, &told);
    must(code || (right(b) && told == pcx_plan_steps(plan, 0)), "other bytes, or not all steps told");
    if (code && s) {
        const long at = atomic_exchange(&fails_at, 0);
        must(!run(s, b, NULL) && right(b), "the session does not run after a failure");
        atomic_store(&fails_at, at);
    }
    pcx_session_free(s);
    pcx_plan_free(plan);
    return code;
}

/* A plan from memory, with an operator of one's own and a tensor that is not aligned; then a call without a plan. */
static int try_own(const char *path, buffers *b, size_t threads)
{
    (void)path, (void)b;
    static const char graph[] = "{\"format\": 1, \"kernels\": [[\"checks::Own\", 1]], \"tensors\": [\"w\"], \"programs\": "
                                "[{\"inputs\": [], \"outputs\": [{\"name\": \"y\", \"dtype\": \"f32\", \"shape\": [5]}], "
                                "\"arena\": 64, \"steps\": [[0, 5, [1, 0, 0], null, [3, 0, 0]]]}]}";
    static const pcx_kernel *const custom[] = { &own, NULL };
    static _Alignas(64) const float values[6] = { 0, 1, 2, 3, 4, 5 };
    static const size_t shape[] = { 5 };
    const pcx_tensor w = { "w", PCX_F32, 1, shape, values + 1, sizeof(float[5]) };
    float out[5] = { 0 };
    void *outputs[] = { out };
    pcx_plan *plan;
    int code = pcx_plan_build_custom(graph, sizeof graph - 1, &w, 1, pcx_cpu(), custom, &plan, NULL, 0);
    pcx_session *s = code ? NULL : pcx_session_new(plan, threads);
    code = code ? code : s ? pcx_session_run(s, 0, NULL, outputs, NULL) : PCX_NO_MEMORY;
    must(code || out[4] == 11, "other values");
    pcx_session_free(s);
    pcx_plan_free(plan);
    own_args args = { 5, values, NULL, out };
    pcx_threads *pool = code ? NULL : pcx_threads_new(threads);
    if (!code)
        code = pool ? pcx_call(pool, &own, own_impls, &args) : PCX_NO_MEMORY;
    must((code || out[4] == 9) && !args.prepared, "other values");
    pcx_threads_free(pool);
    return code;
}

static void failures(const char *path, buffers *b)
{
    static int (*const tries[])(const char *, buffers *, size_t) = { try_file, try_own };
    long refusals = 0, survived = 0;
    for (int round = 0; round < 8; round++) { /* what, how many threads, and whether later calls fail, too */
        for (long at = 1;; at++) {
            const long before = atomic_load(&live);
            atomic_store(&goes_on, round & 1);
            atomic_store(&calls, 0);
            atomic_store(&fails_at, at);
            const int code = tries[round >> 2](path, b, round & 2 ? 3 : 1);
            const int reached = atomic_load(&calls) >= at;
            atomic_store(&fails_at, 0);
            must(!code || code == PCX_NO_MEMORY || code == PCX_IO, "another code");
            must(atomic_load(&live) == before, "a leak");
            if (!reached) {
                must(!code, "an error without a reason");
                break;
            }
            refusals += code != 0;
            survived += code == 0;
        }
    }
    printf("%ld failures: %ld refused, %ld survived with the right bytes\n", refusals + survived, refusals, survived);
}

/* ---- cycles ---- */

static long resident(void)
{
    long total = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    must(file && fscanf(file, "%ld %ld", &total, &pages) == 2, "no /proc/self/statm");
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static void cycles(const char *path, buffers *b, long count, long limit)
{
    long begun = 0;
    for (long i = 0; i < count; i++) {
        if (i == count / 10)
            begun = resident();
        const long before = atomic_load(&live);
        must(!try_file(path, b, i % 10 ? 1 : 3) && atomic_load(&live) == before, "a cycle failed or lost memory");
    }
    const long grown = resident() - begun;
    printf("%ld cycles: %ld bytes more\n", count, grown);
    must(grown < limit, "the process grows");
}

/* ---- threads ---- */

typedef struct {
    const char *path;
    pcx_session *session;
    buffers own;
    long count;
} job;

static void *shares(void *arg)
{
    job *j = arg;
    for (long i = 0; i < j->count; i++)
        must(!run(j->session, &j->own, NULL) && right(&j->own), "other bytes among threads");
    return NULL;
}

static void *opens(void *arg)
{
    job *j = arg;
    for (long i = 0; i < j->count; i++)
        must(!try_file(j->path, &j->own, 2), "a thread's own plan failed");
    return NULL;
}

static void threads(const char *path, long count)
{
    enum { JOBS = 4 };
    for (size_t size = 1; size <= 3; size += 2) {
        pcx_plan *plan;
        must(!pcx_plan_load(path, pcx_cpu(), &plan, NULL, 0), "no plan");
        pcx_session *session = pcx_session_new(plan, size);
        job jobs[JOBS];
        pthread_t ids[JOBS];
        for (int i = 0; i < JOBS; i++) {
            jobs[i] = (job){ path, session, { .count = 0 }, count };
            answer(path, &jobs[i].own);
        }
        for (int i = 0; i < JOBS; i++)
            must(!pthread_create(ids + i, NULL, i ? shares : opens, jobs + i), "no thread");
        for (int i = 0; i < JOBS; i++) {
            pthread_join(ids[i], NULL);
            buffers_free(&jobs[i].own);
        }
        pcx_session_free(session);
        pcx_plan_free(plan);
    }
    printf("%ld runs in each of 4 threads\n", count);
}

/* ---- fork ---- */

static void forks(const char *path, buffers *b, long count)
{
    pcx_plan *plan;
    must(!pcx_plan_load(path, pcx_cpu(), &plan, NULL, 0), "no plan");
    for (long i = 0; i < count; i++) {
        pcx_session *session = pcx_session_new(plan, 1 + (size_t)i % 3);
        must(!run(session, b, NULL) && right(b), "other bytes in the parent");
        const pid_t child = fork();
        if (!child) {
            alarm(20);
            must(!run(session, b, NULL) && right(b), "other bytes in the child");
            pcx_session_free(session);
            _exit(0);
        }
        int status = -1;
        must(waitpid(child, &status, 0) == child && !status, "a child failed");
        must(!run(session, b, NULL) && right(b), "other bytes after a fork");
        pcx_session_free(session);
    }
    pcx_plan_free(plan);
    printf("%ld forks\n", count);
}

/* A copy of this process in a new PID namespace, as fork(), or -1. */
static pid_t fork_apart(void) { return (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL); }

static int waited(pid_t child)
{
    int status = -1;
    must(waitpid(child, &status, 0) == child, "no child");
    return status;
}

static void namespaces(const char *path, buffers *b)
{
    alarm(30); /* ends this process, and with it its children, on which signals of their own have no effect there */
    const pid_t outer = fork_apart();
    if (outer < 0) {
        printf("no PID namespaces here\n");
        return;
    }
    if (outer) {
        must(!waited(outer), "the child hangs or fails");
        printf("parent and child of one pid\n");
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pcx_plan *plan;
    must(!pcx_plan_load(path, pcx_cpu(), &plan, NULL, 0), "no plan");
    pcx_session *session = pcx_session_new(plan, 3);
    must(!run(session, b, NULL) && right(b), "other bytes in the parent");
    const pid_t inner = fork_apart(), own_pid = getpid();
    must(inner >= 0 && own_pid == 1, "no second namespace");
    must(!run(session, b, NULL) && right(b), "other bytes in one of both");
    if (inner)
        must(!waited(inner), "the child in the namespace failed");
    pcx_session_free(session);
    _exit(0);
}

int main(int count, char **words)
{
    const long times = count > 3 ? atol(words[3]) : 1;
    if (count < 3)
        return fprintf(stderr, "usage: checks PLAN failures | cycles N [BYTES] | threads N | fork N | namespaces | stop\n"), 2;
    buffers b;
    answer(words[1], &b);
    if (!strcmp(words[2], "failures"))
        failures(words[1], &b);
    else if (!strcmp(words[2], "cycles"))
        cycles(words[1], &b, times, count > 4 ? atol(words[4]) : 1 << 20);
    else if (!strcmp(words[2], "threads"))
        threads(words[1], times);
    else if (!strcmp(words[2], "namespaces"))
        namespaces(words[1], &b);
    else if (!strcmp(words[2], "stop"))
        stops();
    else
        forks(words[1], &b, times);
    buffers_free(&b);
    must(!atomic_load(&live), "not everything was freed");
    return 0;
}
