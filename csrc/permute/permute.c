/* permute.c - the plan of a copy, scalar, and the table. */
#include "permute.h"

/* Outermost the dims with the largest strides in out, so that it is written in order. */
static void permute_sort_dims(walk *w)
{
    for (size_t i = 1; i < w->rank; i++)
        for (size_t j = i; j > 0; j--) {
            const size_t *o = w->stride[1], *x = w->stride[0];
            if (o[j - 1] > o[j] || (o[j - 1] == o[j] && x[j - 1] >= x[j]))
                break;
            const size_t kept = w->rank;
            walk_move(w, kept, j); /* there is space for one more */
            walk_move(w, j, j - 1);
            walk_move(w, j - 1, kept);
        }
}

permute_plan permute_make_plan(const pcx_permute_args *p)
{
    permute_plan plan = { .p_tiles = 0, .size = p->run % 8 == 0 ? 8 : p->run % 4 == 0 ? 4 : p->run % 2 == 0 ? 2 : 1 };
    const size_t size = plan.size;
    walk *w = &plan.rows;
    walk_extents(w, 2, 6, WALK_SLOTS(p, pcx_permute_args, d0), 2);
    walk_strides(w, 0, WALK_SLOTS(p, pcx_permute_args, x0), 2);
    walk_strides(w, 1, WALK_SLOTS(p, pcx_permute_args, o0), 1);
    walk_merge(w);
    permute_sort_dims(w);
    w->count[w->rank] = p->run / size;
    w->stride[0][w->rank] = w->stride[1][w->rank] = size;
    w->rank++;
    walk_merge(w);
    const size_t q = w->rank - 1;
    size_t along = q;
    for (size_t i = 0; i < q; i++)
        if (w->stride[0][i] == size)
            along = i;
    if (along < q && w->count[along] && w->count[q] && w->stride[1][q] == size && w->stride[0][q] != size) {
        plan.p = w->count[along];
        plan.p_out = w->stride[1][along];
        plan.q = w->count[q];
        plan.q_x = w->stride[0][q];
        plan.p_tiles = ceil_div(plan.p, PERMUTE_P);
        plan.q_tiles = ceil_div(plan.q, PERMUTE_Q);
        w->count[along] = w->count[q] = 1;
    }
    walk_finish(w);
    return plan;
}

static size_t permute_units(const void *args)
{
    const permute_plan plan = permute_make_plan(args);
    return plan.p_tiles ? plan.rows.rows * plan.rows.count[plan.rows.rank - 1] * plan.p_tiles * plan.q_tiles
                        : walk_units(&plan.rows);
}

#define PERMUTE_TILE(type)                                                       \
    for (size_t j = 0; j < np; j++)                                              \
        for (size_t i = 0; i < nq; i++)                                          \
            memcpy(out + j * out_step + i * sizeof(type), x + i * x_step + j * sizeof(type), sizeof(type))

void permute_tile_scalar(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step, size_t np, size_t nq,
                         size_t size)
{
    switch (size) {
    case 8: PERMUTE_TILE(uint64_t); break;
    case 4: PERMUTE_TILE(uint32_t); break;
    case 2: PERMUTE_TILE(uint16_t); break;
    default: PERMUTE_TILE(uint8_t);
    }
}

#define PERMUTE_ROW(type)                                            \
    for (size_t i = 0; i < n; i++)                                   \
        memcpy(out + i * out_step, x + i * x_step, sizeof(type))

static void permute_row(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step, size_t n, size_t size)
{
    if (x_step == size && out_step == size) {
        memmove(out, x, n * size);
        return;
    }
    switch (size) {
    case 8: PERMUTE_ROW(uint64_t); break;
    case 4: PERMUTE_ROW(uint32_t); break;
    case 2: PERMUTE_ROW(uint16_t); break;
    default: PERMUTE_ROW(uint8_t);
    }
}

/* The offset of outer index `at` of a transpose. */
static void permute_outer_offset(const walk *w, size_t at, size_t offset[2])
{
    offset[0] = offset[1] = 0;
    for (size_t i = w->rank; i-- > 0; at /= w->count[i])
        for (size_t k = 0; k < 2; k++)
            offset[k] += at % w->count[i] * w->stride[k][i];
}

void permute_any(const pcx_permute_args *p, size_t begin, size_t end, permute_tile_fn *tile)
{
    const permute_plan plan = permute_make_plan(p);
    const walk *w = &plan.rows;
    if (!plan.p_tiles) {
        walk_at at = walk_range(begin, end);
        while (walk_next(&at, w))
            permute_row(p->x + at.offset[0], walk_step(w, 0), p->out + at.offset[1], walk_step(w, 1), at.n, plan.size);
        return;
    }
    for (size_t unit = begin; unit < end; unit++) {
        const size_t q = unit % plan.q_tiles * PERMUTE_Q;
        const size_t p_at = unit / plan.q_tiles % plan.p_tiles * PERMUTE_P;
        size_t offset[2];
        permute_outer_offset(w, unit / plan.q_tiles / plan.p_tiles, offset);
        tile(p->x + offset[0] + p_at * plan.size + q * plan.q_x, plan.q_x,
             p->out + offset[1] + p_at * plan.p_out + q * plan.size, plan.p_out, min_size(plan.p - p_at, PERMUTE_P),
             min_size(plan.q - q, PERMUTE_Q), plan.size);
    }
}

static void permute_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    permute_any(args, begin, end, permute_tile_scalar);
}

static const pcx_impl permute_impls[] = {
#if PCX_X86
    { "avx2", PCX_AVX2, permute_units, permute_avx2, NULL, NULL, NULL, NULL },
#endif
#if PCX_ARM64
    { "neon", PCX_NEON, permute_units, permute_neon, NULL, NULL, NULL, NULL },
#endif
    { "scalar", 0, permute_units, permute_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_permute = {
    "permute", 1,
    "d0 x0 d1 x1 d2 x2 d3 x3 d4 x4 d5 x5 run x:u8[d0:x0,d1:x1,d2:x2,d3:x3,d4:x4,d5:x5,run] "
    "o0 o1 o2 o3 o4 o5 out:u8[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5,run]",
    permute_impls,
};
