/* fill.c - stores as wide as the element; memory-bound, so there is nothing for an ISA to add. */
#include "../common/walk.h"

static walk fill_walk(const void *args)
{
    walk w;
    walk_extents(&w, 1, 6, WALK_SLOTS(args, pcx_fill_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_fill_args, o0), 2);
    walk_finish(&w);
    return w;
}

static size_t fill_units(const void *args)
{
    const walk w = fill_walk(args);
    return walk_units(&w);
}

#define FILL_ROW(type)                                      \
    do {                                                    \
        type v;                                             \
        memcpy(&v, value, sizeof v);                        \
        if (step == sizeof v)                               \
            for (size_t i = 0; i < n; i++)                  \
                memcpy(out + i * sizeof v, &v, sizeof v);   \
        else                                                \
            for (size_t i = 0; i < n; i++)                  \
                memcpy(out + i * step, &v, sizeof v);       \
    } while (0)

static void fill_row(const uint8_t *value, size_t elem, uint8_t *out, size_t step, size_t n)
{
    switch (elem) {
    case 1: FILL_ROW(uint8_t); break;
    case 2: FILL_ROW(uint16_t); break;
    case 4: FILL_ROW(uint32_t); break;
    case 8: FILL_ROW(uint64_t); break;
    default:
        for (size_t i = 0; i < n; i++)
            memcpy(out + i * step, value, elem);
    }
}

static void fill_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_fill_args *p = args;
    const walk w = fill_walk(args);
    (void)scratch;
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, &w))
        fill_row(p->value, p->elem, p->out + at.offset[0], walk_step(&w, 0), at.n);
}

static const pcx_impl fill_impls[] = {
    { "scalar", 0, fill_units, fill_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_fill = {
    "fill", 1,
    "elem value:u8[elem] d0 o0 d1 o1 d2 o2 d3 o3 d4 o4 d5 o5 out:u8[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5,elem]",
    fill_impls,
};
