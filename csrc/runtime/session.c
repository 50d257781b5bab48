/*
 * session.c - running a plan.  A run takes a free context, or makes one; contexts are kept, so that
 * runs allocate nothing once there are as many contexts as simultaneous runs.
 */
#define _GNU_SOURCE
#include "plan.h"
#include "threads.h"

#include <sys/mman.h>

enum { HUGE_PAGE = 1 << 21 };

/* A program's tasks, and their arguments with all addresses but those of inputs and outputs. */
typedef struct {
    task *tasks;
    uint64_t *slots;
    double *seconds; /* of one part's steps */
    int32_t *faults; /* a word for each step; NULL where none can fail */
} frame;

typedef struct context context;
struct context {
    context *next;
    atomic_int owner; /* the process whose thread runs with it, see process.h; 0: nobody */
    void *memory;     /* of the arena */
    char *arena, *scratch;
    frame *frames; /* one per program, filled when first run */
    size_t count;
};

struct pcx_session {
    const pcx_plan *plan;
    pcx_threads *pool;
    _Atomic(context *) contexts;
};

/* ---- contexts ---- */

static void session_context_free(context *c)
{
    for (size_t i = 0; c->frames && i < c->count; i++) {
        free(c->frames[i].tasks);
        free(c->frames[i].slots);
        free(c->frames[i].seconds);
        free(c->frames[i].faults);
    }
    free(c->frames);
    free(c->memory);
    free(c->scratch);
    free(c);
}

/*
 * Zeroed, so that no plan reads what others left in memory; in whole huge pages where the system has them, for with small
 * ones a network misses the TLB all the time.
 */
static int session_arena_make(context *c, size_t bytes)
{
    const size_t align = bytes < HUGE_PAGE / 4 ? 64 : HUGE_PAGE, whole = round_up(bytes, align);
    c->memory = calloc(1, whole + align);
    if (!c->memory)
        return 0;
    c->arena = (char *)c->memory + (align - (uintptr_t)c->memory % align);
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE)
        madvise(c->arena, whole, MADV_HUGEPAGE); /* a hint; failure is harmless */
#endif
    return 1;
}

static context *session_context_new(const pcx_session *s)
{
    context *c = calloc(1, sizeof *c);
    size_t scratch;
    if (!c)
        return NULL;
    c->count = s->plan->program_count;
    c->frames = calloc(c->count, sizeof *c->frames);
    if (!PCX_MUL_OVERFLOW(s->plan->scratch, pcx_threads_count(s->pool), &scratch))
        c->scratch = threads_block_new(scratch);
    if (c->frames && c->scratch && session_arena_make(c, s->plan->arena))
        return c;
    session_context_free(c);
    return NULL;
}

/*
 * A context for this thread.  After fork() those in use by the parent's threads are nobody's in the
 * child; whatever state they are in is as good as any, since a run sets all that it reads.
 */
static context *session_context_take(pcx_session *s)
{
    const int process = threads_process(s->pool);
    for (context *c = atomic_load(&s->contexts); c; c = c->next) {
        int owner = atomic_load(&c->owner);
        if (owner != process && atomic_compare_exchange_strong(&c->owner, &owner, process))
            return c;
    }
    context *c = session_context_new(s);
    if (!c)
        return NULL;
    atomic_init(&c->owner, process);
    c->next = atomic_load(&s->contexts);
    while (!atomic_compare_exchange_weak(&s->contexts, &c->next, c))
        ;
    return c;
}

static int session_frame_make(frame *f, const program *p, char *arena)
{
    uint64_t *slots = malloc(max_size(p->slot_count, 1) * sizeof *slots);
    task *tasks = calloc(max_size(p->step_count, 1), sizeof *tasks);
    int32_t *faults = p->faults ? malloc(p->step_count * sizeof *faults) : NULL;
    if (!slots || !tasks || (p->faults && !faults)) {
        free(slots);
        free(tasks);
        free(faults);
        return 0;
    }
    memcpy(slots, p->slots, p->slot_count * sizeof *slots);
    for (size_t i = 0; i < p->patch_count; i++)
        if (p->patches[i].region == REGION_ARENA)
            slots[p->patches[i].slot] = (uint64_t)(uintptr_t)(arena + p->patches[i].offset);
        else if (p->patches[i].region == REGION_FAULT)
            slots[p->patches[i].slot] = (uint64_t)(uintptr_t)(faults + p->patches[i].index);
    for (size_t i = 0; i < p->step_count; i++) {
        const step *s = p->steps + i;
        tasks[i].impl = s->impl;
        tasks[i].args = slots + s->first;
        tasks[i].units = s->units;
        tasks[i].whole = (unsigned char)s->whole;
        tasks[i].large = (unsigned char)s->large;
    }
    f->slots = slots;
    f->tasks = tasks;
    f->faults = faults;
    return 1;
}

/* ---- sessions ---- */

pcx_session *pcx_session_new(const pcx_plan *plan, size_t threads)
{
    pcx_session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->plan = plan;
    s->pool = pcx_threads_new(threads);
    if (s->pool)
        return s;
    free(s);
    return NULL;
}

void pcx_session_free(pcx_session *s)
{
    if (!s)
        return;
    pcx_threads_free(s->pool);
    for (context *c = atomic_load(&s->contexts), *next; c; c = next) {
        next = c->next;
        session_context_free(c);
    }
    free(s);
}

static int session_aligned(const pcx_port *ports, size_t count, const void *const *data)
{
    for (size_t i = 0; i < count; i++)
        if (ports[i].bytes && (!data[i] || (uintptr_t)data[i] % pcx_dtype_bytes(ports[i].dtype)))
            return 0;
    return 1;
}

/* Addresses of the inputs' and outputs' part `part`. */
static void session_point(const frame *f, const program *p, const void *const *inputs, void *const *outputs,
                          size_t part)
{
    for (size_t i = 0; i < p->patch_count; i++) {
        const patch *at = p->patches + i;
        if (at->region == REGION_ARENA || at->region == REGION_FAULT)
            continue;
        const char *data = at->region == REGION_INPUT ? inputs[at->index] : outputs[at->index];
        const size_t bytes = p->ports[at->region - REGION_INPUT][at->index].bytes / p->times;
        f->slots[at->slot] = (uint64_t)((uintptr_t)data + part * bytes + at->offset);
    }
}

/* A step ends as much later than it starts as it took for all parts together. */
static void session_add_up(const frame *f, const program *p, size_t part, double *seconds)
{
    for (size_t i = 0; i < 2 * p->step_count; i += 2) {
        if (!part)
            seconds[i] = seconds[i + 1] = f->seconds[i];
        seconds[i + 1] += f->seconds[i + 1] - f->seconds[i];
    }
}

static int session_run(pcx_session *s, context *c, size_t index, const void *const *inputs, void *const *outputs,
                       double *seconds, asking *who)
{
    const program *p = s->plan->programs + index;
    frame *f = c->frames + index;
    if (!f->tasks && !session_frame_make(f, p, c->arena))
        return PCX_NO_MEMORY;
    if (seconds && !f->seconds && !(f->seconds = calloc(max_size(p->step_count, 1), 2 * sizeof *f->seconds)))
        return PCX_NO_MEMORY;
    if (p->zero_arena)
        memset(c->arena, 0, p->arena);
    for (size_t i = 0; i < p->count[1]; i++)
        if (p->zero_output[i] && p->ports[1][i].bytes)
            memset(outputs[i], 0, p->ports[1][i].bytes);
    if (p->faults)
        memset(f->faults, 0, p->step_count * sizeof *f->faults);
    const task_list list = { f->tasks, p->step_count, c->scratch, s->plan->scratch, seconds ? f->seconds : NULL, who };
    for (size_t part = 0; part < p->times && !(who && atomic_load(&who->stopped)); part++) {
        session_point(f, p, inputs, outputs, part);
        threads_run(s->pool, &list);
        if (seconds)
            session_add_up(f, p, part, seconds);
    }
    for (size_t i = 0; p->faults && i < p->step_count; i++)
        if (f->faults[i])
            return (int)(PCX_FAILED_STEP + min_size(i, INT32_MAX - PCX_FAILED_STEP));
    return PCX_OK;
}

static int session_run_checked(pcx_session *s, size_t program, const void *const *inputs, void *const *outputs,
                               double *seconds, asking *who)
{
    if (program >= s->plan->program_count)
        return PCX_BAD_ARGUMENT;
    const struct program *p = s->plan->programs + program;
    if (!session_aligned(p->ports[0], p->count[0], inputs) ||
        !session_aligned(p->ports[1], p->count[1], (const void *const *)outputs))
        return PCX_BAD_ARGUMENT;
    if (!threads_enter(s->pool, who))
        return who && atomic_load(&who->stopped) ? PCX_STOPPED : PCX_NO_MEMORY;
    context *c = session_context_take(s);
    const pcx_float_mode mode = pcx_float_enter();
    if (who)
        who->mode = mode;
    const int code = c ? session_run(s, c, program, inputs, outputs, seconds, who) : PCX_NO_MEMORY;
    pcx_float_leave(mode);
    if (c)
        atomic_store(&c->owner, 0);
    threads_leave(s->pool);
    return who && atomic_load(&who->stopped) ? PCX_STOPPED : code; /* what raised in `ask` must reach the caller */
}

int pcx_session_run(pcx_session *s, size_t program, const void *const *inputs, void *const *outputs, double *seconds)
{
    return session_run_checked(s, program, inputs, outputs, seconds, NULL);
}

int pcx_session_run_asking(pcx_session *s, size_t program, const void *const *inputs, void *const *outputs,
                           double *seconds, pcx_ask_fn *ask, void *context)
{
    const pcx_float_mode mode = pcx_float_enter();
    pcx_float_leave(mode);
    asking who = { .ask = ask, .context = context, .mode = mode, .due = asking_now() + ASKING_SECONDS };
    return session_run_checked(s, program, inputs, outputs, seconds, &who);
}

int pcx_session_profile(pcx_session *s, size_t program, const void *const *inputs, void *const *outputs,
                        pcx_profile_fn *tell, void *context)
{
    const size_t steps = pcx_plan_steps(s->plan, program);
    double *seconds = calloc(max_size(steps, 1), 2 * sizeof *seconds);
    if (!seconds)
        return PCX_NO_MEMORY;
    const int code = pcx_session_run(s, program, inputs, outputs, seconds);
    for (size_t i = 0; i < steps && !code; i++)
        tell(context, i, pcx_plan_step_kernel(s->plan, program, i), pcx_plan_step_isa(s->plan, program, i),
             seconds[2 * i], seconds[2 * i + 1]);
    free(seconds);
    return code;
}
