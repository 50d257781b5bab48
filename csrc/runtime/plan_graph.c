/*
 * plan_graph.c - the graph of steps, format 2:
 * {"format": 2, "kernels": [["sgemm", 1], ...], "tensors": ["name", ...], "programs": [
 *     {"inputs": [{"name": "x", "dtype": "f32", "shape": [1, 3]}], "outputs": [...],
 *      "arena": bytes, "times": 1, "steps": [[kernel, slot, slot, ...], ...]}]}
 * A slot is an integer (a size), null (NULL, or what the executor fills) or
 * [region, index, byte offset], a pointer into region 0 arena, 1 tensor, 2 input, 3 output.
 * With "times" (a key that readers of format 1 refuse) steps see one part of so many of each input and output, cut along
 * the first dimension; they are run once for each part.
 */
#include "plan_graph.h"

#include "plan_step.h"

#include <stdlib.h>

enum { FORMAT = 2, TIMES = 1 << 16, STEPS = 100000, PROGRAMS = 4096, PORTS = 1024, KERNELS = 1024 };
#define ARENA ((uint64_t)8 << 30)
#define EFFORT ((size_t)1 << 27) /* words of bits: 0.1 s */
#define PORT_BYTES ((uint64_t)1 << 40)

/* The list `key` of the object `at`: its node, or 0. */
static size_t plan_graph_list_of(const builder *b, size_t at, const char *key, size_t max)
{
    const size_t list = json_get(b->graph, at, key);
    const json_node *node = b->graph->nodes + list;
    return list && node->kind == JSON_ARRAY && node->count <= max ? list : 0;
}

/* The kernel of that name, or NULL. */
static const pcx_kernel *plan_graph_kernel_named(const char *name, const pcx_kernel *const *custom)
{
    const pcx_kernel *own = pcx_kernel_named(name);
    for (; !own && custom && *custom; custom++)
        if (!strcmp((*custom)->name, name))
            own = *custom;
    return own;
}

static int plan_graph_kernels_read(builder *b, const pcx_kernel *const *custom)
{
    const json_node *nodes = b->graph->nodes;
    const size_t list = plan_graph_list_of(b, 0, "kernels", KERNELS);
    if (!list)
        return builder_refuse(b, "kernels must be a list of at most %d", KERNELS);
    b->kernel_count = nodes[list].count;
    b->kernels = calloc(max_size(b->kernel_count, 1), sizeof *b->kernels);
    if (!b->kernels)
        return PCX_NO_MEMORY;
    for (size_t i = 0, at = list + 1; i < b->kernel_count; i++, at = nodes[at].next) {
        size_t version;
        if (nodes[at].kind != JSON_ARRAY || nodes[at].count != 2 || nodes[at + 1].kind != JSON_STRING ||
            !json_size(b->graph, at + 2, INT64_MAX, &version))
            return builder_refuse(b, "kernel %zu must be a name and a version", i);
        const char *name = nodes[at + 1].text;
        kernel_row *row = b->kernels + i;
        row->kernel = plan_graph_kernel_named(name, custom);
        if (!row->kernel && strstr(name, "::"))
            return builder_refuse(b, "it needs the custom operator %.128s, which was not given", name);
        if (!row->kernel)
            return builder_refuse(b, "this library has no kernel %.64s", name);
        if (row->kernel->version != version)
            return builder_refuse(b, "kernel %s version %zu: this library has version %zu", name, version,
                                  row->kernel->version);
        if (!contract_read(&row->contract, row->kernel->contract))
            return builder_refuse(b, "kernel %s has a contract that cannot be read", name);
    }
    return PCX_OK;
}

static int plan_graph_by_name(const void *a, const void *b)
{
    return strcmp((*(const pcx_tensor *const *)a)->name, (*(const pcx_tensor *const *)b)->name);
}

static int plan_graph_against_name(const void *name, const void *tensor)
{
    return strcmp(name, (*(const pcx_tensor *const *)tensor)->name);
}

/* The graph's tensors among the file's; those that are not aligned are copied. */
static int plan_graph_tensors_find(builder *b, size_t list, const pcx_tensor **sorted, size_t count)
{
    const json_node *nodes = b->graph->nodes;
    for (size_t i = 0, at = list + 1; i < b->constant_count; i++, at = nodes[at].next) {
        if (nodes[at].kind != JSON_STRING)
            return builder_refuse(b, "tensors must be a list of names");
        const pcx_tensor **found = bsearch(nodes[at].text, sorted, count, sizeof *sorted, plan_graph_against_name);
        if (!found)
            return builder_refuse(b, "there is no tensor %.128s", nodes[at].text);
        constant *c = b->constants + i;
        c->tensor = *found;
        c->data = (*found)->data;
        if ((uintptr_t)c->data % 64 && (*found)->bytes) {
            unsigned char *copy = plan_keep(b->plan, (*found)->bytes, 1);
            if (!copy)
                return PCX_NO_MEMORY;
            c->data = memcpy(copy, c->data, (*found)->bytes);
            c->own = 1;
        }
    }
    return PCX_OK;
}

static int plan_graph_tensors_read(builder *b, const plan_source *source)
{
    const size_t list = plan_graph_list_of(b, 0, "tensors", SIZE_MAX);
    if (!list)
        return builder_refuse(b, "tensors must be a list of names");
    b->constant_count = b->graph->nodes[list].count;
    b->constants = calloc(max_size(b->constant_count, 1), sizeof *b->constants);
    const pcx_tensor **sorted = malloc(max_size(source->count, 1) * sizeof *sorted);
    if (!b->constants || !sorted)
        return free(sorted), PCX_NO_MEMORY;
    for (size_t i = 0; i < source->count; i++)
        sorted[i] = source->tensors + i;
    qsort(sorted, source->count, sizeof *sorted, plan_graph_by_name);
    const int code = plan_graph_tensors_find(b, list, sorted, source->count);
    free(sorted);
    return code;
}

/* One input or output: {"name": "x", "dtype": "f32", "shape": [1, 3]}. */
static int plan_graph_port_read(builder *b, size_t at, pcx_port *port)
{
    static const char *const words[] = { "name", "dtype", "shape" };
    const json *j = b->graph;
    const json_node *nodes = j->nodes;
    const size_t name = json_get(j, at, "name"), dtype = json_get(j, at, "dtype"),
                 shape = plan_graph_list_of(b, at, "shape", CONTRACT_DIMS);
    if (nodes[at].kind != JSON_OBJECT || json_unknown(j, at, words, 3) || !name || !dtype || !shape ||
        nodes[name].kind != JSON_STRING || nodes[dtype].kind != JSON_STRING)
        return builder_refuse(b, "an input or output must have name, dtype and shape of at most %d sizes",
                              CONTRACT_DIMS);
    char *text = plan_keep(b->plan, nodes[name].count + 1, 1);
    size_t *sizes = plan_keep(b->plan, max_size(nodes[shape].count, 1), sizeof *sizes);
    if (!text || !sizes)
        return PCX_NO_MEMORY;
    memcpy(text, nodes[name].text, nodes[name].count);
    const span word = { nodes[dtype].text, nodes[dtype].count };
    *port = (pcx_port){ text, dtype_named(word, 0), nodes[shape].count, sizes, 0 };
    port->bytes = pcx_dtype_bytes(port->dtype);
    if (!port->bytes)
        return builder_refuse(b, "%.64s: unknown dtype %.16s", text, nodes[dtype].text);
    for (size_t i = 0; i < port->rank; i++)
        if (!json_size(j, shape + 1 + i, INT64_MAX, sizes + i) ||
            PCX_MUL_OVERFLOW(port->bytes, sizes[i], &port->bytes) || port->bytes > PORT_BYTES)
            return builder_refuse(b, "%.64s: a size is negative or too large", text);
    return PCX_OK;
}

static int plan_graph_ports_read(builder *b, size_t at, const char *key, int side)
{
    const size_t list = plan_graph_list_of(b, at, key, PORTS);
    if (!list)
        return builder_refuse(b, "%s must be a list of at most %d", key, PORTS);
    const json_node *nodes = b->graph->nodes;
    const size_t count = nodes[list].count;
    pcx_port *ports = b->program->ports[side] = plan_keep(b->plan, max_size(count, 1), sizeof *ports);
    b->program->count[side] = count;
    if (!ports)
        return PCX_NO_MEMORY;
    for (size_t i = 0, p = list + 1; i < count; i++, p = nodes[p].next) {
        const int code = plan_graph_port_read(b, p, ports + i);
        if (code)
            return code;
        for (size_t k = 0; k < i && side == 0; k++) /* inputs; a model may list one tensor as several outputs */
            if (!strcmp(ports[k].name, ports[i].name))
                return builder_refuse(b, "%s: %.64s stands there twice", key, ports[i].name);
    }
    return PCX_OK;
}

/* Count the slots and pointers of the steps in the list, and allocate them. */
static int plan_graph_steps_allocate(builder *b, size_t list)
{
    program *p = b->program;
    const json_node *nodes = b->graph->nodes;
    size_t pointers = 0, total = 0;
    p->step_count = nodes[list].count;
    for (size_t i = 0, at = list + 1; i < p->step_count; i++, at = nodes[at].next) {
        size_t kernel;
        b->step = i;
        if (nodes[at].kind != JSON_ARRAY || !nodes[at].count ||
            !json_size(b->graph, at + 1, INT64_MAX, &kernel) || kernel >= b->kernel_count)
            return builder_refuse(b, "step %zu must begin with the index of a kernel", i);
        const size_t slots = b->kernels[kernel].contract.count;
        if (nodes[at].count != 1 + slots)
            return builder_refuse(b, "step %zu (%s) must have %zu slots, not %u", i, b->kernels[kernel].kernel->name,
                                  slots, nodes[at].count - 1);
        total += slots;
        for (size_t s = 0, k = at + 2; s < slots; s++, k = nodes[k].next)
            pointers += nodes[k].kind == JSON_ARRAY || b->kernels[kernel].contract.slot[s].kind == SLOT_FAULT;
    }
    p->steps = plan_keep(b->plan, max_size(p->step_count, 1), sizeof *p->steps);
    p->slots = plan_keep(b->plan, max_size(total, 1), sizeof *p->slots);
    p->patches = plan_keep(b->plan, max_size(pointers, 1), sizeof *p->patches);
    return p->steps && p->slots && p->patches ? PCX_OK : PCX_NO_MEMORY;
}

/* How often the steps are run: every input and output must have so many equal parts. */
static int plan_graph_times_read(builder *b, size_t at)
{
    const size_t node = json_get(b->graph, at, "times");
    program *p = b->program;
    p->times = 1;
    if (node && (!json_size(b->graph, node, TIMES, &p->times) || !p->times))
        return builder_refuse(b, "times must be from 1 to %d", TIMES);
    for (int side = 0; side < 2 && p->times > 1; side++)
        for (size_t i = 0; i < p->count[side]; i++) {
            const pcx_port *port = p->ports[side] + i;
            if (!port->rank || !port->bytes || port->shape[0] % p->times)
                return builder_refuse(b, "%.64s cannot be cut into %zu parts", port->name, p->times);
        }
    return PCX_OK;
}

static int plan_graph_coverage_begin(builder *b)
{
    program *p = b->program;
    p->zero_output = plan_keep(b->plan, max_size(p->count[1], 1), 1);
    b->outputs = calloc(max_size(p->count[1], 1), sizeof *b->outputs);
    if (!p->zero_output || !b->outputs)
        return PCX_NO_MEMORY;
    b->arena = coverage_new(p->arena);
    for (size_t i = 0; i < p->count[1]; i++)
        b->outputs[i] = coverage_new(p->ports[1][i].bytes / p->times);
    return PCX_OK;
}

/* Where a step reads what none wrote, or an output stays as it was, a run begins with zeros: nothing leaks through it. */
static void plan_graph_coverage_end(builder *b)
{
    program *p = b->program;
    p->zero_arena = b->arena.unsure;
    coverage_free(&b->arena);
    for (size_t i = 0; b->outputs && p->zero_output && i < p->count[1]; i++) {
        p->zero_output[i] = !coverage_whole(b->outputs + i, &b->effort);
        coverage_free(b->outputs + i);
    }
    free(b->outputs);
    b->outputs = NULL;
}

static int plan_graph_program_read(builder *b, size_t at, size_t *steps)
{
    static const char *const words[] = { "inputs", "outputs", "arena", "times", "steps" };
    const json *j = b->graph;
    if (j->nodes[at].kind != JSON_OBJECT)
        return builder_refuse(b, "it must be an object");
    const char *unknown = json_unknown(j, at, words, 5);
    if (unknown)
        return builder_refuse(b, "unknown key %.64s", unknown);
    int code = plan_graph_ports_read(b, at, "inputs", 0);
    if (!code)
        code = plan_graph_ports_read(b, at, "outputs", 1);
    if (!code)
        code = plan_graph_times_read(b, at);
    if (code)
        return code;
    if (!json_size(j, json_get(j, at, "arena"), ARENA, &b->program->arena))
        return builder_refuse(b, "arena must be at most %llu bytes", (unsigned long long)ARENA);
    b->plan->arena = max_size(b->plan->arena, b->program->arena);
    const size_t list = plan_graph_list_of(b, at, "steps", *steps);
    if (!list)
        return builder_refuse(b, "steps must be a list, and a plan has at most %d", STEPS);
    *steps -= j->nodes[list].count;
    code = plan_graph_steps_allocate(b, list);
    if (!code)
        code = plan_graph_coverage_begin(b);
    size_t k = list + 1;
    for (b->step = 0; b->step < b->program->step_count && !code; b->step++, k = j->nodes[k].next)
        code = plan_step_read(b, k);
    plan_graph_coverage_end(b);
    b->kernel = NULL;
    b->slot.length = 0;
    return code;
}

static int plan_graph_programs_read(builder *b)
{
    const size_t list = plan_graph_list_of(b, 0, "programs", PROGRAMS);
    const json_node *nodes = b->graph->nodes;
    size_t steps = STEPS;
    if (!list || !nodes[list].count)
        return builder_refuse(b, "programs must be a list of 1 to %d", PROGRAMS);
    b->plan->program_count = nodes[list].count;
    b->plan->programs = plan_keep(b->plan, nodes[list].count, sizeof *b->plan->programs);
    if (!b->plan->programs)
        return PCX_NO_MEMORY;
    int code = PCX_OK;
    for (size_t i = 0, at = list + 1; i < b->plan->program_count && !code; i++, at = nodes[at].next) {
        b->program = b->plan->programs + i;
        code = plan_graph_program_read(b, at, &steps);
    }
    b->program = NULL;
    return code;
}

static int plan_graph_root_read(builder *b, const plan_source *source)
{
    static const char *const words[] = { "format", "kernels", "tensors", "programs" };
    size_t format;
    if (!json_size(b->graph, json_get(b->graph, 0, "format"), INT64_MAX, &format) || !format)
        return builder_refuse(b, "the plan has no format");
    if (format > FORMAT)
        return builder_refuse(b, "plan format %zu is newer than this library reads (%d)", format, FORMAT);
    const char *unknown = json_unknown(b->graph, 0, words, 4);
    if (unknown)
        return builder_refuse(b, "unknown key %.64s", unknown);
    int code = plan_graph_kernels_read(b, source->custom);
    if (!code)
        code = plan_graph_tensors_read(b, source);
    return code ? code : plan_graph_programs_read(b);
}

int plan_graph_read(pcx_plan *plan, const plan_source *source, uint32_t cpu, const reason *why)
{
    json graph;
    int code = json_read(&graph, source->graph, source->length, why);
    builder b = { .plan = plan, .why = why, .graph = &graph, .cpu = cpu, .effort = EFFORT };
    if (!code)
        code = plan_graph_root_read(&b, source);
    json_free(&graph);
    free(b.kernels);
    free(b.constants);
    return code;
}
