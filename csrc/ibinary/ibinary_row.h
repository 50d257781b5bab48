/*
 * ibinary_row.h - one row of each operation for integers of one type; included once for each.
 *
 * Before it: IBINARY(name) makes the type's own name; IBINARY_T is the type, IBINARY_U the unsigned one of its size,
 * IBINARY_SIGNED 0 or 1.  Sums and products are those of unsigned numbers, which wrap around.
 */
enum { IBINARY(bits) = 8 * sizeof(IBINARY_T) };

PCX_INLINE IBINARY_T IBINARY(div)(IBINARY_T a, IBINARY_T b)
{
    if (b == 0)
        return 0;
    if (IBINARY_SIGNED && b == (IBINARY_T)-1) /* the minimum has no counterpart: it wraps to itself */
        return (IBINARY_T)(0 - (IBINARY_U)a);
    return (IBINARY_T)(a / b);
}

PCX_INLINE IBINARY_T IBINARY(fmod)(IBINARY_T a, IBINARY_T b)
{
    return b == 0 || (IBINARY_SIGNED && b == (IBINARY_T)-1) ? 0 : (IBINARY_T)(a % b);
}

PCX_INLINE IBINARY_T IBINARY(mod)(IBINARY_T a, IBINARY_T b)
{
    const IBINARY_T rest = IBINARY(fmod)(a, b);
    const int differ = IBINARY_SIGNED && (IBINARY_U)(rest ^ b) >> (IBINARY(bits) - 1);
    return rest && differ ? (IBINARY_T)(rest + b) : rest;
}

PCX_INLINE IBINARY_T IBINARY(pow)(IBINARY_T a, IBINARY_T b)
{
    if (IBINARY_SIGNED && (IBINARY_U)b >> (IBINARY(bits) - 1)) /* 1 / a to the power -b */
        return a == 1 || (a == (IBINARY_T)-1 && !(b & 1)) ? 1 : a == (IBINARY_T)-1 ? a : 0;
    uint64_t power = 1, base = (uint64_t)a; /* modulo 2^64, so modulo 2^bits too */
    for (IBINARY_U e = (IBINARY_U)b; e; e = (IBINARY_U)(e >> 1)) {
        power *= e & 1 ? base : 1;
        base *= base;
    }
    return (IBINARY_T)power;
}

#define IBINARY_CASE(code, value)                         \
    case code:                                            \
        PCX_IVDEP                                         \
        for (size_t j = 0; j < n; j++) {                  \
            const IBINARY_T u = a[j * sa], v = b[j * sb]; \
            out[j * so] = (IBINARY_T)(value);             \
        }                                                 \
        break

PCX_INLINE void IBINARY(row)(size_t op, size_t n, const IBINARY_T *a, size_t sa, const IBINARY_T *b, size_t sb,
                             IBINARY_T *out, size_t so)
{
    switch (op) {
        IBINARY_CASE(0, (IBINARY_U)u + (IBINARY_U)v);
        IBINARY_CASE(1, (IBINARY_U)u - (IBINARY_U)v);
        IBINARY_CASE(2, (IBINARY_U)u * (IBINARY_U)v);
        IBINARY_CASE(3, IBINARY(div)(u, v));
        IBINARY_CASE(4, IBINARY(pow)(u, v));
        IBINARY_CASE(5, u < v ? u : v);
        IBINARY_CASE(6, u > v ? u : v);
        IBINARY_CASE(7, IBINARY(mod)(u, v));
        IBINARY_CASE(8, IBINARY(fmod)(u, v));
        IBINARY_CASE(9, u & v);
        IBINARY_CASE(10, u | v);
        IBINARY_CASE(11, u ^ v);
        IBINARY_CASE(12, (IBINARY_U)v < IBINARY(bits) ? (uint64_t)u << v : 0);
    default:
        for (size_t j = 0; j < n; j++) {
            const IBINARY_U by = (IBINARY_U)b[j * sb];
            out[j * so] = (IBINARY_T)(by < IBINARY(bits) ? (IBINARY_U)a[j * sa] >> by : 0);
        }
    }
}

PCX_INLINE void IBINARY(walk)(const pcx_ibinary_args *p, const walk *w, size_t begin, size_t end)
{
    const size_t sa = walk_step(w, 0), sb = walk_step(w, 1), so = walk_step(w, 2);
    walk_at at = walk_range(begin, end);
    while (walk_next(&at, w)) {
        const IBINARY_T *a = (const IBINARY_T *)p->a + at.offset[0], *b = (const IBINARY_T *)p->b + at.offset[1];
        IBINARY_T *out = (IBINARY_T *)p->out + at.offset[2];
        if (so == 1 && sa == 1 && sb == 1)
            IBINARY(row)(p->op, at.n, a, 1, b, 1, out, 1);
        else if (so == 1 && sa == 1 && sb == 0)
            IBINARY(row)(p->op, at.n, a, 1, b, 0, out, 1);
        else
            IBINARY(row)(p->op, at.n, a, sa, b, sb, out, so);
    }
}

#undef IBINARY_CASE
#undef IBINARY
#undef IBINARY_T
#undef IBINARY_U
#undef IBINARY_SIGNED
