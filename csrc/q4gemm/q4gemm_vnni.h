/*
 * q4gemm_vnni.h - 4-bit weights by vpdpbusd: sums of a group are int32 and exact, so a group is one part.  A template,
 * included once in a file, which defines
 *
 *   Q4V(name)              names of the functions
 *   Q4V_INT, Q4V_FLOAT     vectors of so many columns
 *   Q4V_LOAD, Q4V_STORE, Q4V_SET1, Q4V_SET1_8, Q4V_SUB, Q4V_SUB_8, Q4V_MUL   of int32, or int8
 *   Q4V_LOADF, Q4V_STOREF, Q4V_ADDF, Q4V_MULF, Q4V_CVT                       of floats
 *   Q4V_DOTS(sum, u, s)    sum += four products of u8 and i8; sum stays in its register
 *   Q4V(codes)(w, high)    a step's codes, from column 0 on, or 8 if `high`
 *   Q4V(zeros)(z)          zero points to int32
 *   Q4V(halves)(s)         scales of two bytes to floats
 *
 * Vector x of several panels begins with column Q4V_COLUMN(x) of panel Q4V_PANEL(x).
 */
enum { Q4V_LANES = sizeof(Q4V_INT) / 4 };
#define Q4V_PANEL(x)  ((size_t)(x) * Q4V_LANES / Q4_NR)
#define Q4V_COLUMN(x) ((size_t)(x) * Q4V_LANES % Q4_NR)

/* What belongs to group g of vector x among arrays [panels][groups][16]. */
PCX_INLINE size_t Q4V(at)(size_t panel, size_t groups, size_t g, const int x)
{
    return ((panel + Q4V_PANEL(x)) * groups + g) * Q4_NR + Q4V_COLUMN(x);
}

PCX_INLINE Q4V_FLOAT Q4V(scales)(const pcx_q4gemm_args *p, size_t at)
{
    return p->st == PCX_F16 ? Q4V(halves)((const uint16_t *)p->scale + at) : Q4V_LOADF((const float *)p->scale + at);
}

PCX_INLINE int32_t Q4V(four)(const uint8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return four;
}

/* ---- many rows: w[vector][step], start and scale [vector][group] ---- */

static void Q4V(unpack)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t panel, size_t count)
{
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    const Q4V_INT minus = Q4V_SET1_8((char)128);
    int8_t *to = m->w;
    int32_t *start = m->start;
    float *scale = m->scale;
    for (int x = 0; x < (int)(count * Q4_NR / Q4V_LANES); x++) {
        const uint8_t *from = p->w + (panel + Q4V_PANEL(x)) * steps * Q4_STEP;
        for (size_t g = 0, s = 0; g < groups; g++, start += Q4V_LANES, scale += Q4V_LANES) {
            const size_t at = Q4V(at)(panel, groups, g, x), end = q4gemm_group_end(p, g, groups, steps);
            const Q4V_INT zero =
                p->zero ? Q4V_MUL(Q4V(zeros)(p->zero + at), Q4V_SET1(0x01010101)) : Q4V_SET1_8(8);
            Q4V_INT sum = Q4V_SET1(0);
            for (; s < end; s++, from += Q4_STEP, to += sizeof zero) {
                const Q4V_INT codes = Q4V_SUB_8(Q4V(codes)(from, Q4V_COLUMN(x) != 0), zero);
                Q4V_STORE(to, codes);
                Q4V_DOTS(sum, minus, codes);
            }
            Q4V_STORE(start, Q4V_SUB(Q4V_SET1(0), sum));
            Q4V_STOREF(scale, Q4V(scales)(p, at));
        }
    }
}

/* mr rows times nv vectors, the first of which is `first`. */
PCX_INLINE void Q4V(tile)(const int mr, const int nv, const pcx_q4gemm_args *p, const q4gemm_workspace *m,
                          const uint8_t *const *rows, size_t first, q4gemm_sums v)
{
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    const size_t w_vector = steps * sizeof(Q4V_INT), by_vector = groups * Q4V_LANES;
    const int8_t *w = m->w + first * w_vector;
    const int32_t *start = (const int32_t *)m->start + first * by_vector;
    const float *scale = m->scale + first * by_vector;
    const uint8_t *row[Q4_MR];
    Q4V_FLOAT total[Q4_MR][2];
    size_t s = 0;
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = rows[r];
        PCX_UNROLL for (int x = 0; x < nv; x++)
            total[r][x] = Q4V_CVT(Q4V_SET1(0));
    }
    for (size_t g = 0; g < groups; g++, start += Q4V_LANES, scale += Q4V_LANES) {
        const size_t end = q4gemm_group_end(p, g, groups, steps);
        Q4V_INT acc[Q4_MR][2];
        PCX_UNROLL for (int r = 0; r < mr; r++)
            PCX_UNROLL for (int x = 0; x < nv; x++)
                acc[r][x] = Q4V_LOAD(start + (size_t)x * by_vector);
        for (; s < end; s++, w += sizeof(Q4V_INT)) {
            Q4V_INT b[2];
            PCX_UNROLL for (int x = 0; x < nv; x++)
                b[x] = Q4V_LOAD(w + (size_t)x * w_vector);
            PCX_UNROLL for (int r = 0; r < mr; r++) {
                const Q4V_INT a = Q4V_SET1(Q4V(four)(row[r] + 4 * s));
                PCX_UNROLL for (int x = 0; x < nv; x++)
                    Q4V_DOTS(acc[r][x], a, b[x]);
            }
        }
        PCX_UNROLL for (int x = 0; x < nv; x++) {
            const Q4V_FLOAT by = Q4V_LOADF(scale + (size_t)x * by_vector);
            PCX_UNROLL for (int r = 0; r < mr; r++)
                total[r][x] = Q4V_ADDF(total[r][x], Q4V_MULF(by, Q4V_CVT(acc[r][x])));
        }
    }
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int x = 0; x < nv; x++)
            Q4V_STOREF(v[Q4V_PANEL(x) * Q4_TOGETHER + (size_t)r] + Q4V_COLUMN(x), total[r][x]);
}

/* ---- few rows ---- */

/* `sums`: of a group's signed codes, times -8, or -1 to be multiplied by zero points. */
static void Q4V(sign)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t r)
{
    const size_t groups = q4gemm_groups(p), steps = ceil_div(p->k, 4);
    uint8_t *row = m->copy + r * m->copy_step;
    int32_t *sums = (int32_t *)m->sums + r * groups;
    for (size_t q = 0; q < m->copy_step; q++)
        row[q] ^= 128;
    for (size_t g = 0, q = 0; g < groups; g++) {
        int32_t sum = 0;
        for (const size_t end = 4 * q4gemm_group_end(p, g, groups, steps); q < end; q++)
            sum += (int8_t)row[q];
        sums[g] = (p->zero ? -1 : -8) * sum;
    }
}

/* mr signed rows times nv vectors of panels from `panel` on. */
PCX_INLINE void Q4V(signed)(const int mr, const int nv, const pcx_q4gemm_args *p, const q4gemm_workspace *m,
                            size_t panel, q4gemm_sums v)
{
    enum { AHEAD = 2048 }; /* bytes */
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p), w_panel = steps * Q4_STEP;
    const uint8_t *w = p->w + panel * w_panel, *row[Q4_MR];
    const int32_t *sums[Q4_MR];
    Q4V_FLOAT total[Q4_MR][4];
    size_t s = 0;
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = m->row[r];
        sums[r] = (const int32_t *)m->sums + (size_t)(row[r] - m->copy) / max_size(m->copy_step, 1) * groups;
        PCX_UNROLL for (int x = 0; x < nv; x++)
            total[r][x] = Q4V_CVT(Q4V_SET1(0));
    }
    for (size_t g = 0; g < groups; g++) {
        const size_t end = q4gemm_group_end(p, g, groups, steps);
        Q4V_INT acc[Q4_MR][4];
        PCX_UNROLL for (int x = 0; x < nv; x++) {
            const Q4V_INT zero = p->zero ? Q4V(zeros)(p->zero + Q4V(at)(panel, groups, g, x)) : Q4V_SET1(0);
            PCX_UNROLL for (int r = 0; r < mr; r++)
                acc[r][x] = p->zero ? Q4V_MUL(Q4V_SET1(sums[r][g]), zero) : Q4V_SET1(sums[r][g]);
        }
        for (; s < end; s++, w += Q4_STEP) {
            Q4V_INT codes[4];
            PCX_UNROLL for (int x = 0; x < nv; x++) {
                if (!Q4V_COLUMN(x) && s % 2 == 0)
                    _mm_prefetch((const char *)w + Q4V_PANEL(x) * w_panel + AHEAD, _MM_HINT_T0);
                codes[x] = Q4V(codes)(w + Q4V_PANEL(x) * w_panel, Q4V_COLUMN(x) != 0);
            }
            PCX_UNROLL for (int r = 0; r < mr; r++) {
                const Q4V_INT a = Q4V_SET1(Q4V(four)(row[r] + 4 * s));
                PCX_UNROLL for (int x = 0; x < nv; x++)
                    Q4V_DOTS(acc[r][x], codes[x], a);
            }
        }
        PCX_UNROLL for (int x = 0; x < nv; x++) {
            const Q4V_FLOAT by = Q4V(scales)(p, Q4V(at)(panel, groups, g, x));
            PCX_UNROLL for (int r = 0; r < mr; r++)
                total[r][x] = Q4V_ADDF(total[r][x], Q4V_MULF(by, Q4V_CVT(acc[r][x])));
        }
    }
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int x = 0; x < nv; x++)
            Q4V_STOREF(v[Q4V_PANEL(x) * Q4_TOGETHER + (size_t)r] + Q4V_COLUMN(x), total[r][x]);
}

/* ---- by the number of rows and vectors ---- */

#define TILE(mr, nv) \
    static PCX_NOINLINE void Q4V(tile_##mr##x##nv)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, \
                                                   const uint8_t *const *rows, size_t first, q4gemm_sums v) \
    { \
        Q4V(tile)(mr, nv, p, m, rows, first, v); \
    }
#define SIGNED(mr, nv) \
    static PCX_NOINLINE void Q4V(signed_##mr##x##nv)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, \
                                                     size_t panel, q4gemm_sums v) \
    { \
        Q4V(signed)(mr, nv, p, m, panel, v); \
    }
#define ALL(X, nv) X(1, nv) X(2, nv) X(3, nv) X(4, nv) X(6, nv)
#define EACH(name, nv) \
    { NULL, Q4V(name##_1x##nv), Q4V(name##_2x##nv), Q4V(name##_3x##nv), Q4V(name##_4x##nv), Q4V(name##_6x##nv), \
      Q4V(name##_6x##nv) }
ALL(TILE, 2) ALL(SIGNED, 2) SIGNED(1, 4) SIGNED(2, 4)
#if Q4V_ODD /* a panel is one vector */
ALL(TILE, 1) ALL(SIGNED, 1)
#endif

static void Q4V(run_many)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, const uint8_t *const *row, size_t rows,
                          size_t count, q4gemm_sums v)
{
    static void (*const tiles[][1 + Q4_MR])(const pcx_q4gemm_args *, const q4gemm_workspace *, const uint8_t *const *,
                                            size_t, q4gemm_sums) = {
        EACH(tile, 2),
#if Q4V_ODD
        EACH(tile, 1),
#endif
    };
    const size_t end = count * Q4_NR / Q4V_LANES;
    for (size_t x = 0; x < end; x += 2)
        tiles[end - x == 1][rows](p, m, row, x, v + Q4V_PANEL(x) * Q4_TOGETHER);
}

static void Q4V(run_few)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t rows, size_t panel, size_t count,
                         q4gemm_sums v)
{
    static void (*const all[][1 + Q4_MR])(const pcx_q4gemm_args *, const q4gemm_workspace *, size_t, q4gemm_sums) = {
        { NULL, Q4V(signed_1x4), Q4V(signed_2x4) },
        EACH(signed, 2),
#if Q4V_ODD
        EACH(signed, 1),
#endif
    };
    for (size_t left = count * Q4_NR / Q4V_LANES, x = 0; left;) { /* four vectors, two or one */
        const int by = left >= 4 && rows <= 2 ? 0 : left >= 2 ? 1 : 2;
        all[by][rows](p, m, panel + Q4V_PANEL(x), v + Q4V_PANEL(x) * Q4_TOGETHER);
        x += (size_t)4 >> by;
        left -= (size_t)4 >> by;
    }
}
