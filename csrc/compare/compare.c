/* compare.c - loops, compiled once for all ISAs. */
#include "../common/walk.h"

PCX_INLINE walk compare_walk(const void *args)
{
    walk w;
    walk_extents(&w, 3, 6, WALK_SLOTS(args, pcx_compare_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_compare_args, a0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_compare_args, b0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_compare_args, o0), 1);
    walk_finish(&w);
    return w;
}

#define COMPARE_CASE(code, operator)                           \
    case code:                                                 \
        PCX_IVDEP                                              \
        for (size_t j = 0; j < n; j++)                         \
            out[j * so] = a[j * sa] operator b[j * sb];        \
        break

/* The rows of [begin, end), of elements T. */
#define COMPARE_ROWS(name, T)                                                                                \
    PCX_INLINE void compare_##name##_row(size_t op, size_t n, const T *a, size_t sa, const T *b, size_t sb,  \
                                         uint8_t *out, size_t so)                                            \
    {                                                                                                        \
        switch (op) {                                                                                        \
            COMPARE_CASE(0, ==);                                                                             \
            COMPARE_CASE(1, <);                                                                              \
            COMPARE_CASE(2, <=);                                                                             \
            COMPARE_CASE(3, >);                                                                              \
            COMPARE_CASE(4, >=);                                                                             \
            COMPARE_CASE(5, !=);                                                                             \
        }                                                                                                    \
    }                                                                                                        \
    PCX_INLINE void compare_##name(const pcx_compare_args *p, const walk *w, size_t begin, size_t end)       \
    {                                                                                                        \
        const size_t sa = walk_step(w, 0), sb = walk_step(w, 1), so = walk_step(w, 2);                       \
        walk_at at = walk_range(begin, end);                                                                 \
        while (walk_next(&at, w)) {                                                                          \
            const T *a = (const T *)p->a + at.offset[0], *b = (const T *)p->b + at.offset[1];                \
            uint8_t *out = p->out + at.offset[2];                                                            \
            if (so == 1 && sa == 1 && sb == 1)                                                               \
                compare_##name##_row(p->op, at.n, a, 1, b, 1, out, 1);                                       \
            else if (so == 1 && sa == 1 && sb == 0)                                                          \
                compare_##name##_row(p->op, at.n, a, 1, b, 0, out, 1);                                       \
            else                                                                                             \
                compare_##name##_row(p->op, at.n, a, sa, b, sb, out, so);                                    \
        }                                                                                                    \
    }

COMPARE_ROWS(f32, float)
COMPARE_ROWS(f64, double)
COMPARE_ROWS(u8, uint8_t)
COMPARE_ROWS(i32, int32_t)
COMPARE_ROWS(u32, uint32_t)
COMPARE_ROWS(i64, int64_t)
COMPARE_ROWS(u64, uint64_t)

PCX_INLINE void compare_run(const void *args, size_t begin, size_t end)
{
    const pcx_compare_args *p = args;
    const walk w = compare_walk(p);
    switch (p->xt) {
    case PCX_F32: compare_f32(p, &w, begin, end); break;
    case PCX_F64: compare_f64(p, &w, begin, end); break;
    case PCX_U8: compare_u8(p, &w, begin, end); break;
    case PCX_I32: compare_i32(p, &w, begin, end); break;
    case PCX_U32: compare_u32(p, &w, begin, end); break;
    case PCX_I64: compare_i64(p, &w, begin, end); break;
    default: compare_u64(p, &w, begin, end);
    }
}

static size_t compare_units(const void *args)
{
    const walk w = compare_walk(args);
    return walk_units(&w);
}

PCX_LOOPS_SMALL(compare)

const pcx_kernel pcx_compare = {
    "compare", 2,
    "d0 a0 d1 a1 d2 a2 d3 a3 d4 a4 d5 a5 xt a:{f32,f64,u8,i32,u32,i64,u64}xt[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:{f32,f64,u8,i32,u32,i64,u64}xt[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] op "
    "o0 o1 o2 o3 o4 o5 out:bool[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5] where op<6",
    compare_impls,
};
