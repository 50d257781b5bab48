/* dynquant.c - loops, compiled once for each ISA.  A unit is a row: its range needs all of it. */
#include "dynquant.h"

PCX_INLINE void dynquant_run(const void *args, size_t begin, size_t end)
{
    const pcx_dynquant_args *p = args;
    for (size_t i = begin; i < end; i++)
        dynquant_row(p->x + i * p->ldx, p->k, p->out + i * p->ldo, p->out_scale + i, p->out_zero + i);
}

static size_t dynquant_units(const void *args)
{
    return ((const pcx_dynquant_args *)args)->m;
}

PCX_LOOPS_512(dynquant)

const pcx_kernel pcx_dynquant = {
    "dynquant", 3,
    "m ldx k x:f32[m:ldx,k] ldo out:u8[m:ldo,k] out_scale:f32[m] out_zero:i32[m]",
    dynquant_impls,
};
