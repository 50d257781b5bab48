/*
 * safetensors.c - the file format: u64 length, JSON header, then the tensors' bytes without gaps.
 * https://huggingface.co/docs/safetensors
 */
#include "safetensors.h"

#include "contract.h"

#include <stdlib.h>

enum { HEADER = 1 << 26 }; /* bytes at most */

typedef struct {
    size_t begin, end;
    const char *name;
} stretch;

static int safetensors_by_begin(const void *a, const void *b)
{
    const stretch *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The tensors must follow each other without holes, up to the last byte. */
static int safetensors_contiguous(stretch *parts, size_t count, size_t bytes, const reason *why)
{
    size_t at = 0;
    qsort(parts, count, sizeof *parts, safetensors_by_begin);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].begin != at)
            return refuse(why, "tensor %s begins at byte %zu, not at %zu", parts[i].name, parts[i].begin, at);
        at = parts[i].end;
    }
    return at == bytes ? PCX_OK : refuse(why, "the tensors are %zu bytes long, the file has %zu for them", at, bytes);
}

/* One tensor's entry: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}. */
static int safetensors_tensor_read(pcx_plan *plan, const unsigned char *data, size_t space, size_t at, pcx_tensor *t,
                                   stretch *part, const reason *why)
{
    static const char *const words[] = { "dtype", "shape", "data_offsets" };
    const json *j = &plan->header;
    if (j->nodes[at].kind != JSON_OBJECT || json_unknown(j, at, words, 3))
        return refuse(why, "tensor %s must have dtype, shape and data_offsets, nothing else", t->name);
    const size_t dtype = json_get(j, at, "dtype"), shape = json_get(j, at, "shape"),
                 offsets = json_get(j, at, "data_offsets");
    t->dtype = 0;
    if (dtype && j->nodes[dtype].kind == JSON_STRING)
        t->dtype = dtype_named((span){ j->nodes[dtype].text, j->nodes[dtype].count }, 1);
    if (!t->dtype)
        return refuse(why, "tensor %s has an unknown dtype", t->name);
    if (!shape || j->nodes[shape].kind != JSON_ARRAY || j->nodes[shape].count > CONTRACT_DIMS)
        return refuse(why, "tensor %s: shape must be a list of at most %d sizes", t->name, CONTRACT_DIMS);
    t->rank = j->nodes[shape].count;
    size_t *sizes = plan_keep(plan, max_size(t->rank, 1), sizeof *sizes);
    if (!sizes)
        return PCX_NO_MEMORY;
    t->shape = sizes;
    t->bytes = pcx_dtype_bytes(t->dtype);
    for (size_t i = 0; i < t->rank; i++)
        if (!json_size(j, shape + 1 + i, INT64_MAX, sizes + i) || PCX_MUL_OVERFLOW(t->bytes, sizes[i], &t->bytes))
            return refuse(why, "tensor %s: a size is negative or too large", t->name);
    if (!offsets || j->nodes[offsets].kind != JSON_ARRAY || j->nodes[offsets].count != 2 ||
        !json_size(j, offsets + 1, space, &part->begin) || !json_size(j, offsets + 2, space, &part->end) ||
        part->begin > part->end)
        return refuse(why, "tensor %s: data_offsets are not inside the file", t->name);
    if (part->end - part->begin != t->bytes)
        return refuse(why, "tensor %s: its shape needs %zu bytes, its data_offsets give %zu", t->name, t->bytes,
                      part->end - part->begin);
    t->data = data + part->begin;
    part->name = t->name;
    return PCX_OK;
}

static int safetensors_metadata_read(pcx_plan *plan, size_t at, plan_source *source, const reason *why)
{
    const json *j = &plan->header;
    if (!at || j->nodes[at].kind != JSON_OBJECT)
        return refuse(why, "not a pycompress plan: there is no __metadata__");
    for (size_t i = 0, key = at + 1; i < j->nodes[at].count; i++, key = j->nodes[key + 1].next)
        if (j->nodes[key + 1].kind != JSON_STRING)
            return refuse(why, "__metadata__: %s must be a string", j->nodes[key].text);
    plan->metadata = at;
    const size_t graph = json_get(j, at, "pycompress");
    if (!graph)
        return refuse(why, "not a pycompress plan: __metadata__ has no key pycompress");
    source->graph = j->nodes[graph].text;
    source->length = j->nodes[graph].count;
    return PCX_OK;
}

int safetensors_read(pcx_plan *plan, plan_source *source, const reason *why)
{
    size_t header = 0;
    for (size_t i = 8; i-- > 0 && plan->bytes >= 8;)
        header = header << 8 | plan->file[i];
    if (plan->bytes < 8 || header > HEADER || header > plan->bytes - 8)
        return refuse(why, "not a safetensors file, or cut off: %zu bytes, header of %zu", plan->bytes, header);
    const unsigned char *data = plan->file + 8 + header;
    const size_t space = plan->bytes - 8 - header;
    int code = json_read(&plan->header, (const char *)plan->file + 8, header, why);
    if (code)
        return code;
    const json *j = &plan->header;
    if (j->nodes->kind != JSON_OBJECT)
        return refuse(why, "the header of a safetensors file must be an object");
    const size_t count = j->nodes->count, metadata = json_get(j, 0, "__metadata__");
    code = safetensors_metadata_read(plan, metadata, source, why);
    if (code)
        return code;
    pcx_tensor *tensors = plan_keep(plan, max_size(count, 1), sizeof *tensors);
    stretch *parts = calloc(max_size(count, 1), sizeof *parts);
    if (!tensors || !parts)
        code = PCX_NO_MEMORY;
    for (size_t i = 0, key = 1; i < count && !code; i++, key = j->nodes[key + 1].next) {
        if (key + 1 == metadata)
            continue;
        tensors[source->count].name = j->nodes[key].text;
        code = safetensors_tensor_read(plan, data, space, key + 1, tensors + source->count, parts + source->count, why);
        source->count++;
    }
    source->tensors = tensors;
    if (!code)
        code = safetensors_contiguous(parts, source->count, space, why);
    free(parts);
    return code;
}
