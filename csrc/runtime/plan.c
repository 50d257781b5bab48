/* plan.c - opening plans, and what can be asked of them. */
#define _GNU_SOURCE
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Before each kept block: the one before it, and what `free` takes. */
typedef struct {
    void *before, *block;
} kept;
enum { HEAD = 64 };

/* calloc leaves fresh pages untouched: what nobody uses of a large block takes no memory. */
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

/* Map the file; PCX_OK or PCX_IO. */
static int map_file(pcx_plan *plan, const char *path, const reason *why)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about;
    void *data = MAP_FAILED;
    if (file < 0 || fstat(file, &about))
        refuse(why, "cannot open: %s", strerror(errno));
    else if (!S_ISREG(about.st_mode))
        refuse(why, "not a regular file");
    else if (!about.st_size)
        refuse(why, "the file is empty");
    else if ((data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0)) == MAP_FAILED)
        refuse(why, "cannot map: %s", strerror(errno));
    if (file >= 0)
        close(file);
    if (data == MAP_FAILED)
        return PCX_IO;
    plan->file = data;
    plan->bytes = (size_t)about.st_size;
    plan->mapped = 1;
    return PCX_OK;
}

static reason begin(pcx_plan **plan, char *why, size_t room)
{
    if (why && room)
        *why = 0;
    *plan = calloc(1, sizeof **plan);
    return (reason){ why, room };
}

static int end(pcx_plan **plan, int code, const reason *why)
{
    if (code == PCX_NO_MEMORY)
        refuse(why, "out of memory");
    if (code) {
        pcx_plan_free(*plan);
        *plan = NULL;
    }
    return code;
}

static int open_bytes(pcx_plan *plan, uint32_t cpu, const reason *why)
{
    container file = { 0 };
    const int code = container_read(plan, &file, why);
    return code ? code : graph_read(plan, &file, cpu, why);
}

int pcx_plan_load(const char *path, uint32_t cpu, pcx_plan **plan, char *text, size_t room)
{
    const reason why = begin(plan, text, room);
    int code = *plan ? map_file(*plan, path, &why) : PCX_NO_MEMORY;
    if (!code)
        code = open_bytes(*plan, cpu, &why);
    return end(plan, code, &why);
}

int pcx_plan_open(const void *data, size_t bytes, uint32_t cpu, pcx_plan **plan, char *text, size_t room)
{
    const reason why = begin(plan, text, room);
    if (!*plan)
        return end(plan, PCX_NO_MEMORY, &why);
    (*plan)->file = data;
    (*plan)->bytes = bytes;
    return end(plan, open_bytes(*plan, cpu, &why), &why);
}

int pcx_plan_build(const char *graph, size_t length, const pcx_tensor *tensors, size_t count, uint32_t cpu,
                   pcx_plan **plan, char *text, size_t room)
{
    const reason why = begin(plan, text, room);
    const container file = { tensors, count, graph, length };
    return end(plan, *plan ? graph_read(*plan, &file, cpu, &why) : PCX_NO_MEMORY, &why);
}

/* ---- what can be asked ---- */

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

static size_t ports(const pcx_plan *plan, size_t program, int side)
{
    return program < plan->program_count ? plan->programs[program].count[side] : 0;
}

static const pcx_port *port(const pcx_plan *plan, size_t program, size_t index, int side)
{
    return index < ports(plan, program, side) ? plan->programs[program].ports[side] + index : NULL;
}

size_t pcx_plan_inputs(const pcx_plan *plan, size_t program) { return ports(plan, program, 0); }
size_t pcx_plan_outputs(const pcx_plan *plan, size_t program) { return ports(plan, program, 1); }

const pcx_port *pcx_plan_input(const pcx_plan *plan, size_t program, size_t index)
{
    return port(plan, program, index, 0);
}

const pcx_port *pcx_plan_output(const pcx_plan *plan, size_t program, size_t index)
{
    return port(plan, program, index, 1);
}

size_t pcx_plan_arena(const pcx_plan *plan, size_t program)
{
    return program < plan->program_count ? plan->programs[program].arena : 0;
}

size_t pcx_plan_steps(const pcx_plan *plan, size_t program)
{
    return program < plan->program_count ? plan->programs[program].step_count : 0;
}

static const step *step_at(const pcx_plan *plan, size_t program, size_t index)
{
    return index < pcx_plan_steps(plan, program) ? plan->programs[program].steps + index : NULL;
}

const char *pcx_plan_step_kernel(const pcx_plan *plan, size_t program, size_t index)
{
    const step *s = step_at(plan, program, index);
    return s ? s->kernel->name : NULL;
}

const char *pcx_plan_step_isa(const pcx_plan *plan, size_t program, size_t index)
{
    const step *s = step_at(plan, program, index);
    return s ? s->impl->isa : NULL;
}
