/* plan.c - a plan's memory, and the functions that describe a plan. */
#define _GNU_SOURCE
#include "plan.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Before each kept block: the one before it, and what `free` takes. */
typedef struct {
    void *before, *block;
} kept;
enum { HEAD = 64 };

/* calloc leaves fresh pages untouched: unused pages of a large block take no memory. */
void *plan_keep(pcx_plan *plan, size_t count, size_t size)
{
    size_t bytes;
    if (PCX_MUL_OVERFLOW(count, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    char *block = calloc(1, bytes + 2 * HEAD);
    if (!block)
        return NULL;
    char *data = block + HEAD + (HEAD - (uintptr_t)block % HEAD) % HEAD;
    memcpy(data - HEAD, &(kept){ plan->kept, block }, sizeof(kept));
    plan->kept = data;
    return data;
}

void pcx_plan_free(pcx_plan *plan)
{
    if (!plan)
        return;
    json_free(&plan->header);
    for (char *data = plan->kept; data;) {
        kept k;
        memcpy(&k, data - HEAD, sizeof k);
        data = k.before;
        free(k.block);
    }
    if (plan->mapped)
        munmap((void *)(uintptr_t)plan->file, plan->bytes);
    free(plan);
}

/* ---- queries ---- */

const void *pcx_plan_bytes(const pcx_plan *plan, size_t *bytes)
{
    *bytes = plan->bytes;
    return plan->file;
}

const char *pcx_plan_metadata(const pcx_plan *plan, const char *key, size_t *length)
{
    const size_t at = plan->metadata ? json_get(&plan->header, plan->metadata, key) : 0;
    *length = at ? plan->header.nodes[at].count : 0;
    return at ? plan->header.nodes[at].text : NULL;
}

size_t pcx_plan_programs(const pcx_plan *plan) { return plan->program_count; }

static size_t plan_ports(const pcx_plan *plan, size_t program, int side)
{
    return program < plan->program_count ? plan->programs[program].count[side] : 0;
}

static const pcx_port *plan_port(const pcx_plan *plan, size_t program, size_t index, int side)
{
    return index < plan_ports(plan, program, side) ? plan->programs[program].ports[side] + index : NULL;
}

size_t pcx_plan_inputs(const pcx_plan *plan, size_t program) { return plan_ports(plan, program, 0); }
size_t pcx_plan_outputs(const pcx_plan *plan, size_t program) { return plan_ports(plan, program, 1); }

const pcx_port *pcx_plan_input(const pcx_plan *plan, size_t program, size_t index)
{
    return plan_port(plan, program, index, 0);
}

const pcx_port *pcx_plan_output(const pcx_plan *plan, size_t program, size_t index)
{
    return plan_port(plan, program, index, 1);
}

size_t pcx_plan_arena(const pcx_plan *plan, size_t program)
{
    return program < plan->program_count ? plan->programs[program].arena : 0;
}

size_t pcx_plan_steps(const pcx_plan *plan, size_t program)
{
    return program < plan->program_count ? plan->programs[program].step_count : 0;
}

static const step *plan_step_at(const pcx_plan *plan, size_t program, size_t index)
{
    return index < pcx_plan_steps(plan, program) ? plan->programs[program].steps + index : NULL;
}

const char *pcx_plan_step_kernel(const pcx_plan *plan, size_t program, size_t index)
{
    const step *s = plan_step_at(plan, program, index);
    return s ? s->kernel->name : NULL;
}

const char *pcx_plan_step_isa(const pcx_plan *plan, size_t program, size_t index)
{
    const step *s = plan_step_at(plan, program, index);
    return s ? s->impl->isa : NULL;
}
