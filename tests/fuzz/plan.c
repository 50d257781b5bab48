/*
 * plan.c - fuzzes the reader of plans: a file is refused with a reason, or opened, described and run.  libFuzzer runs it
 * (sanitize.py --fuzz), and replay.c with any compiler.
 */
#include "../../csrc/pycompress.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORTS = 64, RUN_LIMIT = 1 << 22 }; /* bytes of arena, inputs and outputs: more is opened, but not run */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Fails where the runtime broke its word; fuzzers report that as a crash. */
static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* A program's inputs (side 0) or outputs in memory of exactly their size; how many bytes. */
static size_t take(const pcx_plan *plan, size_t program, int side, void **memory)
{
    const size_t count = (side ? pcx_plan_outputs : pcx_plan_inputs)(plan, program);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const pcx_port *port = (side ? pcx_plan_output : pcx_plan_input)(plan, program, i);
        total += port->bytes;
        if (i >= PORTS || total > RUN_LIMIT)
            return SIZE_MAX;
        memory[i] = calloc(1, port->bytes + !port->bytes);
    }
    return total;
}

static void run(const pcx_plan *plan, pcx_session *session, size_t program)
{
    void *memory[2][PORTS] = { { NULL }, { NULL } };
    size_t total = pcx_plan_arena(plan, program);
    for (int side = 0; side < 2 && total <= RUN_LIMIT; side++) {
        const size_t more = take(plan, program, side, memory[side]);
        total = more > RUN_LIMIT ? SIZE_MAX : total + more;
    }
    int code = PCX_OK;
    if (total <= RUN_LIMIT)
        code = pcx_session_run(session, program, (const void *const *)memory[0], memory[1], NULL);
    must(!code || code >= PCX_FAILED_STEP, "the run failed"); /* the latter: an index outside, say */
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < PORTS; i++)
            free(memory[side][i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[128];
    pcx_plan *plan;
    void *file = aligned_alloc(64, (size + 64) / 64 * 64);
    memcpy(file, data, size);
    const int code = pcx_plan_open(file, size, size % 3 ? pcx_cpu() : 0, &plan, why, sizeof why);
    must(!code == !!plan && !code == !*why && strlen(why) < sizeof why, "no plan without a reason");
    pcx_session *session = plan ? pcx_session_new(plan, 1) : NULL;
    for (size_t i = 0; plan && i < pcx_plan_programs(plan); i++) {
        for (size_t s = 0; s < pcx_plan_steps(plan, i); s++)
            must(pcx_plan_step_kernel(plan, i, s) && pcx_plan_step_isa(plan, i, s), "a step without a kernel");
        run(plan, session, i);
    }
    pcx_session_free(session);
    pcx_plan_free(plan);
    free(file);
    return 0;
}

#ifdef FUZZING
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

/* Mostly changes the header and writes its new length, so that what follows still fits; else any bytes. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    uint64_t header = 0;
    if (size >= 8)
        memcpy(&header, data, 8);
    if (size < 8 || header > size - 8 || seed % 8 == 0)
        return LLVMFuzzerMutate(data, size, max);
    const size_t body = size - 8 - (size_t)header, room = max - 8 - body;
    uint8_t *copy = malloc(room + body);
    memcpy(copy, data + 8, (size_t)header);
    header = LLVMFuzzerMutate(copy, (size_t)header, room);
    memmove(data + 8 + header, data + size - body, body);
    memcpy(data + 8, copy, (size_t)header);
    memcpy(data, &header, 8);
    free(copy);
    return 8 + (size_t)header + body;
}
#endif
