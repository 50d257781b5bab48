/* lookup.c - memory-bound, so there is nothing for an ISA to add.  No index reads outside of x. */
#include "../common/pcx.h"

static size_t lookup_units(const void *args)
{
    const pcx_lookup_args *p = args;
    return p->outer * p->count;
}

/* The row that an index means; `rows` where it is outside. */
static size_t lookup_at(const pcx_lookup_args *p, size_t i)
{
    int64_t index;
    if (p->it == PCX_I32)
        index = ((const int32_t *)p->index)[i];
    else
        index = ((const int64_t *)p->index)[i];
    const uint64_t row = index < 0 ? (uint64_t)index + p->rows : (uint64_t)index; /* wraps: huge where still below 0 */
    return row < p->rows ? row : p->rows;
}

static void lookup_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_lookup_args *p = args;
    (void)scratch;
    for (size_t i = begin; i < end; i++) {
        const size_t outer = i / p->count, row = lookup_at(p, i % p->count);
        uint8_t *out = p->out + i * p->inner;
        if (row == p->rows) {
            memset(out, 255, p->inner);
            pcx_fault(p->fault);
        } else {
            memcpy(out, p->x + (outer * p->rows + row) * p->ldx, p->inner);
        }
    }
}

static const pcx_impl lookup_impls[] = {
    { "scalar", 0, lookup_units, lookup_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_lookup = {
    "lookup", 2,
    "outer rows ldx inner x:u8[outer,rows:ldx,inner] count it index:{i32,i64}it[count] out:u8[outer,count,inner] fault:fault",
    lookup_impls,
};
