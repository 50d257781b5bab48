/*
 * qspmm_vnni.h - blocks of weights times a panel by vpdpbusd: a block is one broadcast times the panel's pixels, and
 * needs no bound of its weights.  A template, included once in a file, which defines
 *
 *   QSPMM(name)              names of the functions
 *   QSPMM_VECTORS            vectors of a panel, at most: 6 or 8
 *   QSPMM_VECTOR, QSPMM_LOAD, QSPMM_STORE, QSPMM_SET1, QSPMM_SUB, QSPMM_MUL   vector of int32
 *   QSPMM_MORE(p, j)         what the sums of output j start higher by
 *   QSPMM_DOTS(sum, x, w)    sum += four products of u8 and i8; sum stays in its register
 *
 * and makes QSPMM(multiply).  Sums are int32 modulo 2^32, so exact while they fit, for any weights.
 */
enum { QSPMM_PX = sizeof(QSPMM_VECTOR) / 4 };

/* sum[v] += block w times x[v], nv vectors; x has a register of its own. */
PCX_INLINE void QSPMM(block)(const int8_t *w, const uint8_t *x, QSPMM_VECTOR *sum, const int nv)
{
    int32_t four;
    memcpy(&four, w, sizeof four);
    const QSPMM_VECTOR by = QSPMM_SET1(four);
    PCX_OPAQUE(x);
    PCX_UNROLL for (int v = 0; v < nv; v++) {
        const QSPMM_VECTOR pixels = QSPMM_LOAD(x + (size_t)v * sizeof by);
        QSPMM_DOTS(sum[v], pixels, by);
    }
}

/*
 * The sums of `rows` outputs from j on, side by side: a sum that waits for another, five cycles, leaves the units idle.
 * They start at the bias, less the zero point's share.
 */
PCX_INLINE void QSPMM(outputs)(const pcx_qspmm_args *p, size_t j, const qspmm_workspace *r, uint8_t *to, const int rows,
                               const int nv)
{
    const size_t step = (size_t)nv * sizeof(QSPMM_VECTOR);
    const uint8_t *panel = r->panel;
    const uint16_t *index = p->index;
    const int8_t *w = p->w;
    size_t at[QSPMM_VECTORS], end[QSPMM_VECTORS], together = SIZE_MAX;
    QSPMM_VECTOR sum[QSPMM_VECTORS][QSPMM_VECTORS];
    PCX_UNROLL for (int i = 0; i < rows; i++) {
        const uint32_t colsum = (uint32_t)p->colsum[j + i], base = p->tail.bias ? (uint32_t)p->tail.bias[j + i] : 0;
        const uint32_t more = QSPMM_MORE(p, j + i);
        const QSPMM_VECTOR all = QSPMM_SET1((int32_t)(base + more - (p->ldz ? 0 : r->zero[0] * colsum)));
        const QSPMM_VECTOR share = QSPMM_SET1((int32_t)(p->ldz ? colsum : 0));
        PCX_UNROLL for (int v = 0; v < nv; v++)
            sum[i][v] = p->ldz ? QSPMM_SUB(all, QSPMM_MUL(QSPMM_LOAD(r->zero + v * QSPMM_PX), share)) : all;
        at[i] = (size_t)p->rows[j + i];
        end[i] = max_size(at[i], (size_t)p->rows[j + i + 1]);
        together = min_size(together, end[i] - at[i]);
    }
    for (size_t q = 0; rows > 1 && q < together; q++) {
        PCX_UNROLL for (int i = 0; i < rows; i++) {
            QSPMM(block)(w + 4 * at[i], panel + index[at[i]] * step, sum[i], nv);
            at[i]++;
        }
    }
    PCX_UNROLL for (int i = 0; i < rows; i++) {
        for (size_t b = at[i]; b < end[i]; b++)
            QSPMM(block)(w + 4 * b, panel + index[b] * step, sum[i], nv);
        PCX_UNROLL for (int v = 0; v < nv; v++)
            QSPMM_STORE(to + i * step + v * sizeof(QSPMM_VECTOR), sum[i][v]);
    }
}

#define MULTIPLY(nv, together) \
    static PCX_NOINLINE void QSPMM(multiply_##nv)(const pcx_qspmm_args *p, size_t j, size_t cols, \
                                                  const qspmm_workspace *r) \
    { \
        const size_t end = j + cols; \
        uint8_t *to = r->sums; \
        for (; j + together <= end; j += together, to += together * nv * sizeof(QSPMM_VECTOR)) \
            QSPMM(outputs)(p, j, r, to, together, nv); \
        for (; together > 1 && j < end; j++, to += nv * sizeof(QSPMM_VECTOR)) \
            QSPMM(outputs)(p, j, r, to, 1, nv); \
    }
MULTIPLY(1, 4) MULTIPLY(2, 4) MULTIPLY(3, 2) MULTIPLY(4, 2) MULTIPLY(5, 2) MULTIPLY(6, 2)
#if QSPMM_VECTORS > 6
MULTIPLY(7, 1) MULTIPLY(8, 1)
#endif
#undef MULTIPLY

static void QSPMM(multiply)(const pcx_qspmm_args *p, size_t j, size_t cols, const qspmm_workspace *r)
{
    static void (*const by_vectors[])(const pcx_qspmm_args *, size_t, size_t, const qspmm_workspace *) = {
        NULL,
        QSPMM(multiply_1),
        QSPMM(multiply_2),
        QSPMM(multiply_3),
        QSPMM(multiply_4),
        QSPMM(multiply_5),
        QSPMM(multiply_6),
#if QSPMM_VECTORS > 6
        QSPMM(multiply_7),
        QSPMM(multiply_8),
#endif
    };
    by_vectors[r->vectors](p, j, cols, r);
}
