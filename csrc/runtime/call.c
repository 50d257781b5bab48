/* call.c - one kernel call outside a plan. */
#include "threads.h"

/* The index of the `prepared` slot in a contract, or -1. */
static long call_prepared_slot(const char *contract)
{
    const char *at = strstr(contract, "prepared:prepared");
    if (!at)
        return -1;
    long slot = 0;
    for (const char *c = contract; c < at; c++)
        slot += *c == ' ';
    return slot;
}

/* Run with `prepared` in place. */
static int call(pcx_threads *pool, const pcx_impl *impl, void *args)
{
    const size_t threads = threads_enter(pool, NULL);
    if (!threads)
        return PCX_NO_MEMORY;
    size_t each = impl->scratch ? impl->scratch(args) : 0;
    each = each > SIZE_MAX / 2 ? each : round_up(each, 64);
    char *scratch = NULL;
    size_t bytes;
    int code = PCX_NO_MEMORY;
    if (!PCX_MUL_OVERFLOW(each, threads, &bytes) && (!bytes || (scratch = threads_block_new(bytes)))) {
        task one = { .impl = impl, .args = args, .units = pcx_units(impl, args) };
        threads_run(pool, &(task_list){ .tasks = &one, .count = 1, .scratch = scratch, .each = each });
        free(scratch);
        code = PCX_OK;
    }
    threads_leave(pool);
    return code;
}

/* Run, `prepared` made for this call where it is missing. */
static int call_prepared(pcx_threads *pool, const pcx_kernel *kernel, const pcx_impl *impl, void *args)
{
    const long slot = impl->prepare ? call_prepared_slot(kernel->contract) : -1;
    void **prepared = slot >= 0 ? (void **)args + slot : NULL;
    if (!prepared || *prepared)
        return call(pool, impl, args);
    void *made = threads_block_new(impl->prepared(args));
    if (!made)
        return PCX_NO_MEMORY;
    impl->prepare(args, made);
    *prepared = made;
    const int code = call(pool, impl, args);
    *prepared = NULL;
    free(made);
    return code;
}

int pcx_call(pcx_threads *pool, const pcx_kernel *kernel, const pcx_impl *impl, void *args)
{
    const pcx_float_mode mode = pcx_float_enter();
    const int code = call_prepared(pool, kernel, impl, args);
    pcx_float_leave(mode);
    return code;
}

/* Whether array i is where it may be: aligned, and if it is written, apart from all others. */
static int call_placed(const pcx_array *arrays, size_t n, void *const *data, size_t i)
{
    const uintptr_t begin = (uintptr_t)data[i], end = begin + arrays[i].bytes;
    if (begin % arrays[i].align)
        return 0;
    for (size_t j = 0; arrays[i].written && j < n; j++) {
        const uintptr_t other = (uintptr_t)data[j];
        if (j != i && other && other < end && begin < other + arrays[j].bytes)
            return 0;
    }
    return 1;
}

int pcx_call_arrays(pcx_threads *pool, const pcx_kernel *kernel, uint32_t cpu, const uint64_t *slots, size_t count,
                    const pcx_array *arrays, size_t n, void *const *data)
{
    uint64_t args[64];
    if (count > sizeof args / sizeof *args)
        return PCX_BAD_ARGUMENT;
    memcpy(args, slots, count * sizeof *args);
    for (size_t i = 0; i < n; i++) {
        if (data[i] && !call_placed(arrays, n, data, i))
            return PCX_BAD_ARGUMENT;
        args[arrays[i].slot] = (uintptr_t)data[i];
    }
    return pcx_call(pool, kernel, pcx_select(kernel, cpu, args), args);
}
