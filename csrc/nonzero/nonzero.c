/* nonzero.c - places follow each other, so there is one unit. */
#include "../common/pcx.h"

static size_t nonzero_units(const void *args)
{
    (void)args;
    return 1;
}

static PCX_COLD void nonzero_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_nonzero_args *p = args;
    size_t count = 0;
    (void)scratch;
    if (begin == end)
        return;
    for (size_t i = 0; i < p->n; i++)
        if (p->x[i])
            p->out[count++] = (int64_t)i;
    *p->out_count = (int64_t)count;
    memset(p->out + count, 0, (p->n - count) * sizeof *p->out);
}

static const pcx_impl nonzero_impls[] = {
    { "scalar", 0, nonzero_units, nonzero_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_nonzero = {
    "nonzero", 1,
    "n x:bool[n] out:i64[n] out_count:i64[1]",
    nonzero_impls,
};
