/* ibinary.c - loops, compiled once for all ISAs; ibinary_row.h holds them for one type. */
#include "../common/walk.h"

#define IBINARY(name) ibinary_u8_##name
#define IBINARY_T uint8_t
#define IBINARY_U uint8_t
#define IBINARY_SIGNED 0
#include "ibinary_row.h"

#define IBINARY(name) ibinary_i32_##name
#define IBINARY_T int32_t
#define IBINARY_U uint32_t
#define IBINARY_SIGNED 1
#include "ibinary_row.h"

#define IBINARY(name) ibinary_u32_##name
#define IBINARY_T uint32_t
#define IBINARY_U uint32_t
#define IBINARY_SIGNED 0
#include "ibinary_row.h"

#define IBINARY(name) ibinary_i64_##name
#define IBINARY_T int64_t
#define IBINARY_U uint64_t
#define IBINARY_SIGNED 1
#include "ibinary_row.h"

#define IBINARY(name) ibinary_u64_##name
#define IBINARY_T uint64_t
#define IBINARY_U uint64_t
#define IBINARY_SIGNED 0
#include "ibinary_row.h"

PCX_INLINE walk ibinary_walk(const void *args)
{
    walk w;
    walk_extents(&w, 3, 6, WALK_SLOTS(args, pcx_ibinary_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_ibinary_args, a0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_ibinary_args, b0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_ibinary_args, o0), 1);
    walk_finish(&w);
    return w;
}

PCX_INLINE void ibinary_run(const void *args, size_t begin, size_t end)
{
    const pcx_ibinary_args *p = args;
    const walk w = ibinary_walk(p);
    switch (p->xt) {
    case PCX_U8: ibinary_u8_walk(p, &w, begin, end); break;
    case PCX_I32: ibinary_i32_walk(p, &w, begin, end); break;
    case PCX_U32: ibinary_u32_walk(p, &w, begin, end); break;
    case PCX_I64: ibinary_i64_walk(p, &w, begin, end); break;
    default: ibinary_u64_walk(p, &w, begin, end);
    }
}

static size_t ibinary_units(const void *args)
{
    const walk w = ibinary_walk(args);
    return walk_units(&w);
}

PCX_LOOPS_SMALL(ibinary)

const pcx_kernel pcx_ibinary = {
    "ibinary", 1,
    "d0 a0 d1 a1 d2 a2 d3 a3 d4 a4 d5 a5 xt a:{u8,i32,u32,i64,u64}xt[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:{u8,i32,u32,i64,u64}xt[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] op "
    "o0 o1 o2 o3 o4 o5 out:{u8,i32,u32,i64,u64}xt[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5] where op<14",
    ibinary_impls,
};
