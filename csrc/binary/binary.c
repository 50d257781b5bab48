/* binary.c - loops, compiled once for each ISA. */
#include "../common/act_loop.h"
#include "../common/walk.h"

#include <math.h>

PCX_INLINE walk binary_walk(const void *args)
{
    walk w;
    walk_extents(&w, 3, 6, WALK_SLOTS(args, pcx_binary_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_binary_args, a0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_binary_args, b0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_binary_args, o0), 1);
    walk_finish(&w);
    return w;
}

/* A NaN on either side gives NaN, as numpy.minimum says. */
PCX_INLINE float binary_min(float a, float b) { return a < b || a != a ? a : b; }
PCX_INLINE float binary_max(float a, float b) { return a > b || a != a ? a : b; }

enum { BINARY_BLOCK = 64 };

#define BINARY_CASE(code, value)                         \
    case code:                                           \
        PCX_IVDEP                                        \
        for (size_t j = 0; j < whole; j++) {             \
            const float u = a[j], v = b[j];              \
            out[j] = value;                              \
        }                                                \
        break

/* n numbers, a multiple of BINARY_BLOCK: loops of vectors and nothing else.  out is a or b or overlaps neither. */
PCX_INLINE void binary_blocks(const pcx_binary_args *p, size_t n, const float *a, const float *b, float *out)
{
    const size_t whole = n / BINARY_BLOCK * BINARY_BLOCK;
    switch (p->op) {
        BINARY_CASE(0, u + v);
        BINARY_CASE(1, u - v);
        BINARY_CASE(2, u * v);
        BINARY_CASE(3, u / v);
        BINARY_CASE(4, powf(u, v));
        BINARY_CASE(5, binary_min(u, v));
        BINARY_CASE(6, binary_max(u, v));
        BINARY_CASE(7, act_either(u < 0, u * v, u));
    default:
        for (size_t j = 0; j < whole; j++)
            out[j] = fmodf(a[j], b[j]);
    }
    if (p->act != PCX_ACT_NONE)
        act_loop_run(out, out, whole, p->act, p->act_params);
}

/* Operands of `n` elements, and their steps. */
typedef struct {
    const float *a, *b;
    float *out;
    size_t n, sa, sb, so;
} binary_span;

/* to[0..count) = every `step`-th of x. */
PCX_INLINE void binary_collect(float *to, const float *x, size_t step, size_t count)
{
    if (step == 1)
        memcpy(to, x, count * sizeof *to);
    else
        for (size_t j = 0; j < count; j++)
            to[j] = x[j * step];
}

/* Whole blocks where they lie; of operands with gaps, and of the rest, in copies. */
PCX_INLINE void binary_span_run(const pcx_binary_args *p, binary_span s, float (*copy)[BINARY_BLOCK])
{
    const int dense = s.sa == 1 && s.sb == 1 && s.so == 1;
    for (size_t i = 0, some; i < s.n; i += some) {
        const int whole = s.n - i >= BINARY_BLOCK, there = dense && whole;
        const float *a = s.a + i * s.sa, *b = s.b + i * s.sb;
        float *const out = s.out + i * s.so;
        some = !whole ? s.n - i : dense ? (s.n - i) / BINARY_BLOCK * BINARY_BLOCK : BINARY_BLOCK;
        if (!whole || s.sa != 1)
            binary_collect(copy[0], a, s.sa, some), a = copy[0];
        if (!whole || s.sb != 1)
            binary_collect(copy[1], b, s.sb, some), b = copy[1];
        float *const to = whole && s.so == 1 ? out : copy[2];
        binary_blocks(p, there ? some : BINARY_BLOCK, a, b, to);
        for (size_t j = 0; to != out && j < some; j++)
            out[j * s.so] = to[j];
    }
}

/*
 * Which operand repeats one row for all rows of a dense one, as a constant per channel does: 1 is b, 0 is a, 2 is none.  A
 * unit is then one span, on copies of that row side by side.
 */
PCX_INLINE size_t binary_repeated(const walk *w)
{
    if (w->rank != 2 || w->rows_per_unit < 2 || walk_step(w, 2) != 1 || w->stride[2][0] != w->count[1])
        return 2;
    for (size_t k = 0; k < 2; k++)
        if (!w->stride[k][0] && w->stride[1 - k][0] == w->count[1] && walk_step(w, 0) == 1 && walk_step(w, 1) == 1)
            return k;
    return 2;
}

/* One number for all of a span: as many copies of it, in `copies`, of which the first `made` are that number already. */
PCX_INLINE const float *binary_same(const float *x, size_t n, float *copies, size_t *made)
{
    if (memcmp(copies, x, sizeof *x))
        *made = 0;
    const float value = *x;
    for (; *made < n; ++*made)
        copies[*made] = value;
    return copies;
}

PCX_INLINE void binary_run(const void *args, size_t begin, size_t end)
{
    const pcx_binary_args *p = args;
    const walk w = binary_walk(p);
    const size_t repeated = binary_repeated(&w), n = w.count[w.rank - 1], rows = min_size(w.rows_per_unit, w.rows);
    float copies[WALK_CHUNK] = { 0 }, blocks[3][BINARY_BLOCK] = { { 0 } };
    size_t made = 0;
    for (size_t i = 0; repeated < 2 && i < rows; i++)
        memcpy(copies + i * n, repeated ? p->b : p->a, n * sizeof *copies);
    walk_at at = walk_range(begin, end);
    for (;;) {
        binary_span s = { .sa = 1, .sb = 1, .so = 1 };
        if (repeated < 2) {
            const size_t row = at.unit++ * w.rows_per_unit;
            if (at.unit > end || row >= w.rows)
                return;
            s.a = repeated == 0 ? copies : p->a + row * n;
            s.b = repeated == 1 ? copies : p->b + row * n;
            s.out = p->out + row * n;
            s.n = min_size(w.rows_per_unit, w.rows - row) * n;
        } else {
            if (!walk_next(&at, &w))
                return;
            s = (binary_span){ p->a + at.offset[0], p->b + at.offset[1], p->out + at.offset[2], at.n,
                               walk_step(&w, 0),    walk_step(&w, 1),    walk_step(&w, 2) };
            if (!s.sb)
                s.b = binary_same(s.b, s.n, copies, &made), s.sb = 1;
            else if (!s.sa)
                s.a = binary_same(s.a, s.n, copies, &made), s.sa = 1;
        }
        binary_span_run(p, s, blocks);
    }
}

static size_t binary_units(const void *args)
{
    const walk w = binary_walk(args);
    return walk_units(&w);
}

PCX_LOOPS_512(binary)

const pcx_kernel pcx_binary = {
    "binary", 1,
    "d0 a0 d1 a1 d2 a2 d3 a3 d4 a4 d5 a5 a:f32[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:f32[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] op act act_params:f32[2] "
    "o0 o1 o2 o3 o4 o5 out:f32[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5] where op<9,act<9",
    binary_impls,
};
