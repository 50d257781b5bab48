/* plan_step.c - one step: checks every slot against the kernel's contract. */
#include "plan_step.h"

enum {
    SMALL = 16384,      /* bytes; a step that touches no more is done before another thread hears of it */
    LARGE = 1 << 20,    /* bytes; a step that touches no more takes milliseconds, or seconds where it was made to */
    SCRATCH = 1 << 30,  /* bytes of one thread at most */
    SIZE_LIMIT = 2147483647,
    KEY = 16,
};

/* What was derived from one array of weights. */
struct prepared {
    prepared *next;
    pcx_prepare_fn *make;
    uint64_t key[KEY]; /* of what `prepare` may read: see derives_from */
    void *data;
};

/* What a step's pointer slot names. */
typedef struct {
    size_t region, index, offset;
} place;

static int plan_step_place_read(builder *b, size_t at, place *p, size_t *bytes)
{
    const json *j = b->graph;
    if (j->nodes[at].count != 3 || !json_size(j, at + 1, REGIONS - 1, &p->region) ||
        !json_size(j, at + 2, INT64_MAX, &p->index) || !json_size(j, at + 3, INT64_MAX, &p->offset))
        return builder_refuse(b, "a pointer must be [region, index, byte offset]");
    const size_t ends[REGIONS] = { 1, b->constant_count, b->program->count[0], b->program->count[1] };
    static const char *const words[REGIONS] = { "arena", "tensor", "input", "output" };
    if (p->index >= ends[p->region])
        return builder_refuse(b, "there is no %s %zu", words[p->region], p->index);
    if (p->region == REGION_ARENA)
        *bytes = b->program->arena;
    else if (p->region == REGION_TENSOR)
        *bytes = b->constants[p->index].tensor->bytes;
    else
        *bytes = b->program->ports[p->region - REGION_INPUT][p->index].bytes / b->program->times;
    return PCX_OK;
}

static uint64_t plan_step_integer_at(const unsigned char *data, size_t type, size_t i)
{
    const uint16_t *half = (const void *)data;
    const uint32_t *word = (const void *)data;
    const uint64_t *wide = (const void *)data;
    switch (type) { /* below zero becomes greater than any limit */
    case PCX_U8: return data[i];
    case PCX_I8: return (uint64_t)(int64_t)(int8_t)data[i];
    case PCX_U16: return half[i];
    case PCX_I16: return (uint64_t)(int64_t)(int16_t)half[i];
    case PCX_U32: return word[i];
    case PCX_I32: return (uint64_t)(int64_t)(int32_t)word[i];
    case PCX_U64:
    case PCX_I64: return wide[i];
    default: return UINT64_MAX;
    }
}

/* Values that are bounded must be constant; they are checked in a copy, which a changing file cannot reach. */
static int plan_step_bounds_check(builder *b, const place *p, const extent *e, uint64_t limit)
{
    if (p->region != REGION_TENSOR)
        return builder_refuse(b, "values below a bound must be a tensor");
    constant *c = b->constants + p->index;
    if (!c->own) {
        unsigned char *copy = plan_keep(b->plan, c->tensor->bytes, 1);
        if (!copy)
            return PCX_NO_MEMORY;
        c->data = memcpy(copy, c->data, c->tensor->bytes);
        c->own = 1;
    }
    for (size_t i = 0; i < e->bytes / e->element; i++)
        if (plan_step_integer_at(c->data + p->offset, e->type, i) >= limit)
            return builder_refuse(b, "value %zu is not in [0, %llu)", i, (unsigned long long)limit);
    return PCX_OK;
}

/* A pointer slot: inside its region, aligned, and writable if it is an output. */
static int plan_step_pointer_check(builder *b, const contract *c, const contract_slot *slot, const uint64_t *slots,
                                   const place *p, size_t available, extent *e)
{
    if (!contract_extent(c, slots, slot, e))
        return builder_refuse(b, "its type is not one of the contract's, or its size overflows");
    if (p->offset > available || e->bytes > available - p->offset)
        return builder_refuse(b, "%zu bytes at %zu do not fit into %zu", e->bytes, p->offset, available);
    if (p->offset % e->element)
        return builder_refuse(b, "byte offset %zu is not aligned to elements of %zu", p->offset, e->element);
    if (p->region >= REGION_INPUT) { /* callers align ports to the ports' elements only */
        const pcx_port *port = b->program->ports[p->region - REGION_INPUT] + p->index;
        if (e->element > pcx_dtype_bytes(port->dtype))
            return builder_refuse(b, "elements of %zu bytes in a port of smaller ones", e->element);
    }
    if (slot->output && (p->region == REGION_TENSOR || p->region == REGION_INPUT))
        return builder_refuse(b, "it must not write there");
    if (slot->output && e->count > e->bytes / e->element) /* bounds the work, too */
        return builder_refuse(b, "its rows overlap");
    return slot->below.length ? plan_step_bounds_check(b, p, e, contract_limit(c, slots, slot)) : PCX_OK;
}

/* Whether `prepare` may read slot i: the weights, what is bounded and so constant, and the sizes of these. */
static int plan_step_derives_from(const contract *c, size_t i)
{
    if (c->slot[i].kind != SLOT_SIZE)
        return i == c->w || c->slot[i].below.length;
    for (size_t x = 0; x < c->count; x++)
        if (c->slot[x].kind == SLOT_ARRAY && plan_step_derives_from(c, x) &&
            contract_mentions(c->slot + x, c->slot[i].name))
            return 1;
    return 0;
}

/* Put what is derived from the constant weights into the slot; steps with the same weights share it. */
static int plan_step_prepare(builder *b, const contract *c, const pcx_impl *impl, uint64_t *slots)
{
    prepared want = { .make = impl->prepare };
    size_t used = 0;
    for (size_t i = 0; i < c->count; i++)
        if (plan_step_derives_from(c, i)) {
            if (used == KEY)
                return builder_refuse(b, "`prepare` depends on too many arguments");
            want.key[used++] = slots[i];
        }
    prepared **bucket = b->made + slots[c->w] / 64 % (sizeof b->made / sizeof *b->made), *at = *bucket;
    while (at && (at->make != want.make || memcmp(at->key, want.key, sizeof want.key)))
        at = at->next;
    if (!at) {
        at = plan_keep(b->plan, 1, sizeof *at);
        want.data = plan_keep(b->plan, impl->prepared(slots), 1);
        want.next = *bucket;
        if (!at || !want.data)
            return PCX_NO_MEMORY;
        impl->prepare(slots, want.data);
        *at = want;
        *bucket = at;
    }
    slots[c->prepared] = (uint64_t)(uintptr_t)at->data;
    return PCX_OK;
}

/* Sizes first: what an array must hold may depend on a size that stands after it. */
static int plan_step_sizes_read(builder *b, size_t at, const contract *c, uint64_t *slots)
{
    const json_node *nodes = b->graph->nodes;
    for (size_t i = 0; i < c->count; i++, at = nodes[at].next) {
        size_t size = 0; /* on macOS no uint64_t, though as long */
        b->slot = c->slot[i].name;
        if (c->slot[i].kind != SLOT_SIZE)
            continue;
        if (!json_size(b->graph, at, SIZE_LIMIT, &size))
            return builder_refuse(b, "it must be an integer from 0 to %d", SIZE_LIMIT);
        slots[i] = size;
    }
    b->slot.length = 0;
    span broken;
    if (!contract_holds(c, slots, &broken))
        return builder_refuse(b, "%.*s does not hold", (int)broken.length, broken.text);
    return PCX_OK;
}

/* Totals over a step's pointers. */
typedef struct {
    size_t touched; /* bytes */
    size_t written; /* elements of its outputs */
    int fixed;      /* the weights are constant */
    size_t count;
    place at[CONTRACT_SLOTS]; /* of those into the arena and the outputs */
    extent of[CONTRACT_SLOTS];
    int output[CONTRACT_SLOTS];
} pointers;

/* Note what the step reads, and after that what it writes. */
static void plan_step_cover(builder *b, const pointers *p)
{
    for (int output = 0; output < 2; output++)
        for (size_t i = 0; i < p->count; i++) {
            coverage *region = p->at[i].region == REGION_ARENA ? &b->arena : b->outputs + p->at[i].index;
            if (p->output[i] == output)
                (output ? coverage_write : coverage_read)(region, p->at[i].offset, p->of + i, &b->effort);
        }
}

/* Pointers: constants get their addresses, the rest patches and, for the time being, some address. */
static int plan_step_pointers_read(builder *b, size_t at, const contract *c, size_t first, pointers *found)
{
    const json_node *nodes = b->graph->nodes;
    program *p = b->program;
    uint64_t *slots = p->slots + first;
    for (size_t i = 0; i < c->count; i++, at = nodes[at].next) {
        const contract_slot *slot = c->slot + i;
        const int null = nodes[at].kind == JSON_NULL;
        place where;
        extent e;
        size_t available = 0;
        b->slot = slot->name;
        if (slot->kind == SLOT_SIZE || (null && slot->optional) || (null && slot->kind == SLOT_PREPARED))
            continue;
        if (slot->kind == SLOT_PREPARED)
            return builder_refuse(b, "it must be null");
        if (slot->kind == SLOT_FAULT) {
            if (!null && !json_size(b->graph, at, 1, &available))
                return builder_refuse(b, "it must be null, 0 or 1");
            if (available)
                p->patches[p->patch_count++] = (patch){ (uint32_t)(first + i), REGION_FAULT, (uint32_t)b->step, 0 };
            p->faults |= available > 0;
            continue;
        }
        if (nodes[at].kind != JSON_ARRAY)
            return builder_refuse(b, "a pointer must be [region, index, byte offset]%s",
                                  slot->optional ? " or null" : "");
        int code = plan_step_place_read(b, at, &where, &available);
        if (!code)
            code = plan_step_pointer_check(b, c, slot, slots, &where, available, &e);
        if (code)
            return code;
        if (PCX_ADD_OVERFLOW(found->touched, e.bytes, &found->touched))
            found->touched = SIZE_MAX;
        found->written += slot->output ? min_size(e.count, SIZE_MAX / CONTRACT_SLOTS) : 0;
        if (where.region == REGION_ARENA || where.region == REGION_OUTPUT) {
            found->at[found->count] = where;
            found->of[found->count] = e;
            found->output[found->count++] = slot->output;
        }
        if (where.region == REGION_TENSOR) {
            slots[i] = (uint64_t)(uintptr_t)(b->constants[where.index].data + where.offset);
            found->fixed |= i == c->w;
        } else {
            slots[i] = 64 + where.offset;
            p->patches[p->patch_count++] =
                (patch){ (uint32_t)(first + i), (uint32_t)where.region, (uint32_t)where.index, where.offset };
        }
    }
    b->slot.length = 0;
    return PCX_OK;
}

int plan_step_read(builder *b, size_t at)
{
    program *p = b->program;
    step *s = p->steps + b->step;
    const kernel_row *row = b->kernels + b->graph->nodes[at + 1].number;
    uint64_t *slots = p->slots + p->slot_count;
    pointers found = { 0 };
    *s = (step){ .kernel = row->kernel, .first = p->slot_count };
    b->kernel = row->kernel->name;
    int code = plan_step_sizes_read(b, at + 2, &row->contract, slots);
    if (!code)
        code = plan_step_pointers_read(b, at + 2, &row->contract, s->first, &found);
    if (code)
        return code;
    const pcx_impl *const impl = s->impl = pcx_select(row->kernel, b->cpu, slots);
    if (found.fixed && impl->prepare && row->contract.prepared < CONTRACT_SLOTS)
        code = plan_step_prepare(b, &row->contract, impl, slots);
    if (code)
        return code;
    const size_t scratch = impl->scratch ? impl->scratch(slots) : 0;
    if (scratch > SCRATCH)
        return builder_refuse(b, "it needs %zu bytes of scratch memory", scratch);
    b->plan->scratch = max_size(b->plan->scratch, round_up(scratch, 64));
    s->units = found.written ? pcx_units(impl, slots) : 0; /* sizes of what is empty bound no work */
    s->whole = found.touched <= SMALL;
    s->large = found.touched > LARGE;
    if (found.written)
        plan_step_cover(b, &found);
    p->slot_count += row->contract.count;
    return PCX_OK;
}
