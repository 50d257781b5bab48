/* where.c - loops, compiled once for each ISA. */
#include "../common/walk.h"

PCX_INLINE walk where_walk(const void *args)
{
    walk w;
    walk_extents(&w, 4, 6, WALK_SLOTS(args, pcx_where_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_where_args, c0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_where_args, a0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_where_args, b0), 1);
    walk_strides(&w, 3, WALK_SLOTS(args, pcx_where_args, o0), 1);
    walk_finish(&w);
    return w;
}

/* The rows of [begin, end), of elements T. */
#define WHERE_ROWS(name, T)                                                                                         \
    PCX_INLINE void where_##name##_row(size_t n, const uint8_t *cond, const T *a, const T *b, size_t sb, T *out)    \
    {                                                                                                               \
        PCX_IVDEP                                                                                                   \
        for (size_t j = 0; j < n; j++) {                                                                            \
            const T u = a[j], v = b[j * sb];                                                                        \
            out[j] = cond[j] ? u : v;                                                                               \
        }                                                                                                           \
    }                                                                                                               \
    static PCX_COLD void where_##name##_strided(size_t n, const uint8_t *cond, size_t sc, const T *a, size_t sa,    \
                                                const T *b, size_t sb, T *out, size_t so)                           \
    {                                                                                                               \
        for (size_t j = 0; j < n; j++)                                                                              \
            out[j * so] = cond[j * sc] ? a[j * sa] : b[j * sb];                                                     \
    }                                                                                                               \
    PCX_INLINE void where_##name(const pcx_where_args *p, const walk *w, size_t begin, size_t end)                  \
    {                                                                                                               \
        const size_t sc = walk_step(w, 0), sa = walk_step(w, 1), sb = walk_step(w, 2), so = walk_step(w, 3);        \
        walk_at at = walk_range(begin, end);                                                                        \
        while (walk_next(&at, w)) {                                                                                 \
            const uint8_t *cond = p->cond + at.offset[0];                                                           \
            const T *a = (const T *)p->a + at.offset[1], *b = (const T *)p->b + at.offset[2];                       \
            T *out = (T *)p->out + at.offset[3];                                                                    \
            if (so == 1 && sc == 1 && sa == 1 && sb == 1)                                                           \
                where_##name##_row(at.n, cond, a, b, 1, out);                                                       \
            else if (so == 1 && sc == 1 && sa == 1 && sb == 0)                                                      \
                where_##name##_row(at.n, cond, a, b, 0, out);                                                       \
            else                                                                                                    \
                where_##name##_strided(at.n, cond, sc, a, sa, b, sb, out, so);                                      \
        }                                                                                                           \
    }

WHERE_ROWS(u8, uint8_t)
WHERE_ROWS(u16, uint16_t)
WHERE_ROWS(u32, uint32_t)
WHERE_ROWS(u64, uint64_t)

PCX_INLINE void where_run(const void *args, size_t begin, size_t end)
{
    const pcx_where_args *p = args;
    const walk w = where_walk(p);
    switch (p->xt) {
    case PCX_U8: where_u8(p, &w, begin, end); break;
    case PCX_U16: where_u16(p, &w, begin, end); break;
    case PCX_U32: where_u32(p, &w, begin, end); break;
    default: where_u64(p, &w, begin, end);
    }
}

static size_t where_units(const void *args)
{
    const walk w = where_walk(args);
    return walk_units(&w);
}

PCX_LOOPS(where)

const pcx_kernel pcx_where = {
    "where", 2,
    "d0 c0 d1 c1 d2 c2 d3 c3 d4 c4 d5 c5 cond:bool[d0:c0,d1:c1,d2:c2,d3:c3,d4:c4,d5:c5] "
    "a0 a1 a2 a3 a4 a5 xt a:{u8,u16,u32,u64}xt[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:{u8,u16,u32,u64}xt[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] "
    "o0 o1 o2 o3 o4 o5 out:{u8,u16,u32,u64}xt[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
    where_impls,
};
