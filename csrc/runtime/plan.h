/* plan.h - a plan in memory, private to the runtime. */
#ifndef PCX_PLAN_H
#define PCX_PLAN_H

#include "json.h"

enum { REGION_ARENA, REGION_TENSOR, REGION_INPUT, REGION_OUTPUT, REGIONS, REGION_FAULT };

/* slots[slot] = the region's address + offset; REGION_FAULT: the word of step `index` */
typedef struct {
    uint32_t slot;
    uint32_t region; /* REGION_* */
    uint32_t index;
    size_t offset;
} patch;

typedef struct {
    const pcx_kernel *kernel;
    const pcx_impl *impl;
    size_t first; /* of its slots */
    size_t units;
    int whole; /* too little work to split */
    int large; /* so much that it is done in parts, where a run may be stopped */
} step;

typedef struct program {
    pcx_port *ports[2]; /* inputs, outputs */
    size_t count[2];
    size_t arena;
    int zero_arena;             /* before each run: a step may read what none before it wrote */
    unsigned char *zero_output; /* the same of each output, and of those that are not written whole */
    size_t times; /* a run does the steps so often, each time for the next part of every input and output */
    step *steps;
    size_t step_count;
    int faults; /* whether steps can fail */
    uint64_t *slots; /* arguments of all steps, complete but for the patches */
    size_t slot_count; /* of the steps read so far */
    patch *patches;
    size_t patch_count;
} program;

struct pcx_plan {
    void *kept; /* what plan_keep gave */
    const unsigned char *file;
    size_t bytes;
    int mapped;
    json header;     /* of the file */
    size_t metadata; /* node of `header`, or 0 */
    program *programs;
    size_t program_count;
    size_t arena, scratch; /* the maximum over all programs, over all steps */
};

/* Zeroed memory, aligned to 64 bytes, that lives as long as the plan; NULL when there is none. */
void *plan_keep(pcx_plan *plan, size_t count, size_t size);

/* What a plan is made from: named constant arrays, and its graph as JSON text. */
typedef struct {
    const pcx_tensor *tensors;
    size_t count;
    const char *graph;
    size_t length;
    const pcx_kernel *const *custom; /* the caller's operators, ended by NULL, or NULL */
} plan_source;

#endif
