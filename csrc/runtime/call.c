/* call.c - one kernel call outside a plan. */
#include "pcx.h"

#include <stdlib.h>

enum { ALIGN = 64 };

static void *block(size_t bytes) { return aligned_alloc(ALIGN, round_up(max_size(bytes, 1), ALIGN)); }

/* The index of the `prepared` slot in a contract, or -1. */
static long prepared_slot(const char *contract)
{
    const char *at = strstr(contract, "prepared:prepared");
    if (!at)
        return -1;
    long slot = 0;
    for (const char *c = contract; c < at; c++)
        slot += *c == ' ';
    return slot;
}

int pcx_call(pcx_threads *pool, const pcx_kernel *kernel, const pcx_impl *impl, void *args)
{
    (void)pool;
    const long slot = impl->prepare ? prepared_slot(kernel->contract) : -1;
    void **prepared = slot >= 0 ? (void **)args + slot : NULL, *made = NULL;
    if (prepared && !*prepared) {
        made = block(impl->prepared(args));
        if (!made)
            return 1;
        impl->prepare(args, made);
        *prepared = made;
    }
    void *scratch = impl->scratch ? block(impl->scratch(args)) : NULL;
    const int failed = impl->scratch && !scratch;
    if (!failed)
        impl->run(args, 0, impl->units(args), scratch);
    free(scratch);
    if (made) {
        *prepared = NULL;
        free(made);
    }
    return failed;
}
