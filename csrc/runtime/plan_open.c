/* plan_open.c - opening plans: from a file, from a file's bytes, from graph and tensors. */
#define _GNU_SOURCE
#include "plan_graph.h"
#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY = 1 << 22 }; /* bytes; files up to this size are read, larger ones mapped: a copy takes a millisecond */

/* Read the whole of an open file, so that whoever changes or shortens it later does no harm. */
static int plan_open_read_file(pcx_plan *plan, int file, size_t bytes, const reason *why)
{
    unsigned char *data = plan_keep(plan, bytes, 1);
    if (!data)
        return PCX_NO_MEMORY;
    for (size_t at = 0; at < bytes;) {
        const ssize_t got = read(file, data + at, bytes - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            refuse(why, got ? "cannot read: %s" : "it was cut off while it was read", strerror(errno));
            return PCX_IO;
        }
        at += (size_t)got;
    }
    plan->file = data;
    plan->bytes = bytes;
    return PCX_OK;
}

/* Read or map the file; PCX_OK, PCX_NO_MEMORY or PCX_IO. */
static int plan_open_take_file(pcx_plan *plan, const char *path, const reason *why)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about;
    void *data = MAP_FAILED;
    int code = PCX_IO;
    if (file < 0 || fstat(file, &about))
        refuse(why, "cannot open: %s", strerror(errno));
    else if (!S_ISREG(about.st_mode))
        refuse(why, "not a regular file");
    else if (!about.st_size)
        refuse(why, "the file is empty");
    else if (about.st_size <= COPY)
        code = plan_open_read_file(plan, file, (size_t)about.st_size, why);
    else if ((data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0)) == MAP_FAILED)
        refuse(why, "cannot map: %s", strerror(errno));
    if (file >= 0)
        close(file);
    if (data == MAP_FAILED)
        return code;
    plan->file = data;
    plan->bytes = (size_t)about.st_size;
    plan->mapped = 1;
    return PCX_OK;
}

static reason plan_open_begin(pcx_plan **plan, char *why, size_t why_bytes)
{
    if (why && why_bytes)
        *why = 0;
    *plan = calloc(1, sizeof **plan);
    return (reason){ why, why_bytes };
}

static int plan_open_end(pcx_plan **plan, int code, const reason *why)
{
    if (code == PCX_NO_MEMORY)
        refuse(why, "out of memory");
    if (code) {
        pcx_plan_free(*plan);
        *plan = NULL;
    }
    return code;
}

static int plan_open_open_bytes(pcx_plan *plan, uint32_t cpu, const pcx_kernel *const *custom, const reason *why)
{
    plan_source source = { .custom = custom };
    const int code = safetensors_read(plan, &source, why);
    return code ? code : plan_graph_read(plan, &source, cpu, why);
}

int pcx_plan_load_custom(const char *path, uint32_t cpu, const pcx_kernel *const *custom, pcx_plan **plan,
                         char *why_text, size_t why_bytes)
{
    const reason why = plan_open_begin(plan, why_text, why_bytes);
    int code = *plan ? plan_open_take_file(*plan, path, &why) : PCX_NO_MEMORY;
    if (!code)
        code = plan_open_open_bytes(*plan, cpu, custom, &why);
    return plan_open_end(plan, code, &why);
}

int pcx_plan_open_custom(const void *data, size_t bytes, uint32_t cpu, const pcx_kernel *const *custom, pcx_plan **plan,
                         char *why_text, size_t why_bytes)
{
    const reason why = plan_open_begin(plan, why_text, why_bytes);
    if (!*plan)
        return plan_open_end(plan, PCX_NO_MEMORY, &why);
    (*plan)->file = data;
    (*plan)->bytes = bytes;
    return plan_open_end(plan, plan_open_open_bytes(*plan, cpu, custom, &why), &why);
}

int pcx_plan_build_custom(const char *graph, size_t length, const pcx_tensor *tensors, size_t count, uint32_t cpu,
                          const pcx_kernel *const *custom, pcx_plan **plan, char *why_text, size_t why_bytes)
{
    const reason why = plan_open_begin(plan, why_text, why_bytes);
    const plan_source source = { tensors, count, graph, length, custom };
    return plan_open_end(plan, *plan ? plan_graph_read(*plan, &source, cpu, &why) : PCX_NO_MEMORY, &why);
}

int pcx_plan_load(const char *path, uint32_t cpu, pcx_plan **plan, char *why, size_t why_bytes)
{
    return pcx_plan_load_custom(path, cpu, NULL, plan, why, why_bytes);
}

int pcx_plan_open(const void *data, size_t bytes, uint32_t cpu, pcx_plan **plan, char *why, size_t why_bytes)
{
    return pcx_plan_open_custom(data, bytes, cpu, NULL, plan, why, why_bytes);
}

int pcx_plan_build(const char *graph, size_t length, const pcx_tensor *tensors, size_t count, uint32_t cpu,
                   pcx_plan **plan, char *why, size_t why_bytes)
{
    return pcx_plan_build_custom(graph, length, tensors, count, cpu, NULL, plan, why, why_bytes);
}
