/* gather.c - memory-bound, so there is nothing for an ISA to add. */
#include "../common/pcx.h"

static size_t gather_units(const void *args)
{
    const pcx_gather_args *p = args;
    return p->outer * p->count;
}

static void gather_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_gather_args *p = args;
    (void)scratch;
    for (size_t i = begin; i < end; i++) {
        const size_t outer = i / p->count, row = (size_t)p->index[i % p->count];
        const uint8_t *x = p->x + outer * p->rows * p->ldx + row * p->ldx;
        uint8_t *out = p->out + i * p->inner;
        switch (p->inner) { /* one number each: gathers along a tensor's last axis */
        case 1: memcpy(out, x, 1); break;
        case 4: memcpy(out, x, 4); break;
        case 8: memcpy(out, x, 8); break;
        default: memcpy(out, x, p->inner);
        }
    }
}

static const pcx_impl gather_impls[] = {
    { "scalar", 0, gather_units, gather_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_gather = {
    "gather", 1,
    "outer rows ldx inner x:u8[outer,rows:ldx,inner] count index:i32[count]<rows out:u8[outer,count,inner]",
    gather_impls,
};
