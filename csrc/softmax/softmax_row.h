/*
 * softmax_row.h - softmax_row of softmax.c by vectors: the same bytes.  A template, included once in a file, which defines
 *
 *   SOFTMAX(name)                names of the functions; max and add, which join all lanes of a row, are the file's
 *   SOFTMAX_VECTOR, SOFTMAX_SET, SOFTMAX_LOAD, SOFTMAX_STORE, SOFTMAX_ADD, SOFTMAX_SUB, SOFTMAX_MUL, SOFTMAX_MAX,
 *   SOFTMAX_FMA, SOFTMAX_FNMA    vector of floats; max gives the second of its operands if one is NaN
 *   SOFTMAX_POWER                2^n of n + ACT_EXP_MAGIC
 *   SOFTMAX_SOME, SOFTMAX_FIRST  the first lanes of a vector, so many of them,
 *   SOFTMAX_LOAD_SOME, SOFTMAX_STORE_SOME   those from memory, (lanes, what the others are, at), and to it, (at, lanes, x)
 *
 * and makes SOFTMAX(rows).
 */
enum { WIDTH = sizeof(SOFTMAX_VECTOR) / sizeof(float), PARTS = SOFTMAX_LANES / WIDTH };

/* e^(x - top), which is at most 1, or NaN. */
PCX_INLINE SOFTMAX_VECTOR SOFTMAX(exp)(SOFTMAX_VECTOR x, SOFTMAX_VECTOR top)
{
    static const float c[] = { ACT_EXP_C5, ACT_EXP_C4, ACT_EXP_C3, ACT_EXP_C2, 1, 1 };
    const SOFTMAX_VECTOR magic = SOFTMAX_SET(ACT_EXP_MAGIC);
    const SOFTMAX_VECTOR v = SOFTMAX_MAX(SOFTMAX_SET(ACT_EXP_MIN), SOFTMAX_SUB(x, top));
    const SOFTMAX_VECTOR shifted = SOFTMAX_FMA(v, SOFTMAX_SET(ACT_EXP_LOG2E), magic), n = SOFTMAX_SUB(shifted, magic);
    SOFTMAX_VECTOR r = SOFTMAX_FNMA(n, SOFTMAX_SET(ACT_EXP_LN2), v);
    r = SOFTMAX_FNMA(n, SOFTMAX_SET(ACT_EXP_LN2_LOW), r);
    SOFTMAX_VECTOR y = SOFTMAX_SET(ACT_EXP_C6);
    PCX_UNROLL
    for (int i = 0; i < 6; i++)
        y = SOFTMAX_FMA(y, r, SOFTMAX_SET(c[i]));
    return SOFTMAX_MUL(y, SOFTMAX_POWER(shifted));
}

/* The maximum of r elements. */
PCX_INLINE float SOFTMAX(top)(const float *x, size_t r)
{
    const SOFTMAX_VECTOR low = SOFTMAX_SET(-INFINITY);
    SOFTMAX_VECTOR t[PARTS];
    PCX_UNROLL
    for (int v = 0; v < PARTS; v++)
        t[v] = low;
    for (; r >= SOFTMAX_LANES; x += SOFTMAX_LANES, r -= SOFTMAX_LANES)
        PCX_UNROLL
        for (size_t v = 0; v < PARTS; v++)
            t[v] = SOFTMAX_MAX(SOFTMAX_LOAD(x + v * WIDTH), t[v]);
    PCX_UNROLL
    for (size_t v = 0; v < PARTS; v++)
        if (v * WIDTH < r)
            t[v] = SOFTMAX_MAX(SOFTMAX_LOAD_SOME(SOFTMAX_FIRST(r - v * WIDTH), low, x + v * WIDTH), t[v]);
    return SOFTMAX(max)(t);
}

/* The sum of e^(x - top), which go to `out` unless it is NULL. */
PCX_INLINE float SOFTMAX(total)(const float *x, size_t r, float top, float *out)
{
    const SOFTMAX_VECTOR tops = SOFTMAX_SET(top), low = SOFTMAX_SET(-INFINITY);
    SOFTMAX_VECTOR t[PARTS];
    PCX_UNROLL
    for (int v = 0; v < PARTS; v++)
        t[v] = SOFTMAX_SET(0);
    for (size_t i = 0; i < r; i += SOFTMAX_LANES)
        PCX_UNROLL
        for (size_t v = 0; v < PARTS; v++) {
            const size_t at = i + v * WIDTH;
            if (PCX_LIKELY(at + WIDTH <= r)) {
                const SOFTMAX_VECTOR e = SOFTMAX(exp)(SOFTMAX_LOAD(x + at), tops);
                t[v] = SOFTMAX_ADD(t[v], e);
                if (out)
                    SOFTMAX_STORE(out + at, e);
            } else if (at < r) { /* beyond the row e^-inf = 0 is added */
                const SOFTMAX_SOME some = SOFTMAX_FIRST(r - at);
                const SOFTMAX_VECTOR e = SOFTMAX(exp)(SOFTMAX_LOAD_SOME(some, low, x + at), tops);
                t[v] = SOFTMAX_ADD(t[v], e);
                if (out)
                    SOFTMAX_STORE_SOME(out + at, some, e);
            }
        }
    return SOFTMAX(add)(t);
}

/* What is left of a row, once its max and its sum are known. */
PCX_INLINE void SOFTMAX(finish)(const float *x, size_t r, int log, float top, float total, float *out)
{
    const SOFTMAX_VECTOR tops = SOFTMAX_SET(top), zero = SOFTMAX_SET(0);
    const SOFTMAX_VECTOR part = SOFTMAX_SET(log ? logf(total) : 1 / total);
    for (; r >= WIDTH; x += WIDTH, out += WIDTH, r -= WIDTH)
        SOFTMAX_STORE(out, log ? SOFTMAX_SUB(SOFTMAX_SUB(SOFTMAX_LOAD(x), tops), part)
                               : SOFTMAX_MUL(SOFTMAX_LOAD(out), part));
    if (r) {
        const SOFTMAX_SOME some = SOFTMAX_FIRST(r);
        const SOFTMAX_VECTOR last = SOFTMAX_LOAD_SOME(some, zero, log ? x : out);
        SOFTMAX_STORE_SOME(out, some, log ? SOFTMAX_SUB(SOFTMAX_SUB(last, tops), part) : SOFTMAX_MUL(last, part));
    }
}

/* The next row's maximum is computed while this row's sum and division are on their way. */
void SOFTMAX(rows)(const float *x, size_t rows, size_t r, int log, float *out)
{
    float top = rows ? SOFTMAX(top)(x, r) : 0;
    for (; rows; rows--, x += r, out += r) {
        const float total = SOFTMAX(total)(x, r, top, log ? NULL : out);
        const float next = rows > 1 ? SOFTMAX(top)(x + r, r) : 0;
        SOFTMAX(finish)(x, r, log, top, total, out);
        top = next;
    }
}
