/*
 * qdwconv_quad_tile.h - lines of 3 x 3 and 5 x 5 windows by dot products of quads: see qdwconv_quads.h.
 *
 * First the four rows of a window are interleaved, each column once for all windows that meet it: four vectors of a
 * dword, a byte of each row, for every channel.  Then each output is the sum of a dot product per column and vector,
 * exact in int32 for any weights.  Both, and packing sums to bytes, work within 128-bit lanes, so channels come out in
 * order.  Where two or four columns share a vector, so do the sums of two or four output pixels.
 *
 * Included once in a file, which has defined
 *   QUAD_V, QUAD_VF                      vectors of integers and of floats; functions below work on such
 *   QUAD_HELD                            so many quads' weights, of four vectors each, stay in registers
 *   QUAD_LOAD(p), QUAD_STORE(p, v)       at any address
 *   QUAD_LOW(bits, a, b), QUAD_HIGH      elements of 8 or 16 bits interleaved, within lanes
 *   QUAD_DOT(sum, x, w)                  sum + dot products of u8 and i8
 *   QUAD_LESS(a, b, s)                   a - b * s by int32, s a number
 *   QUAD_FLOATS(v), QUAD_SCALED(sum, f)  the same bits as floats; float(sum) * f
 *   QUAD_CLAMP, QUAD_CLAMP_MAKE(c)       a qepilogue_clamp in registers
 *   QUAD_SKIPS(c, scale)                 QT_SMALL ... for a vector's bytes of scales
 *   QUAD_BYTES(f, clamp, skips)          four vectors of floats to bytes
 *   QUAD_LANES(p)                        a vector of 128-bit lanes, each from its address p[i]
 *   QUAD_JOIN(per, p)                    a vector of `per` parts, each from its address p[i]
 * and, where others than x86's are meant,
 *   QUAD_READ(v)                         bytes of pixels as QUAD_DOT takes them
 *   QUAD_TAKES                           what the kernel takes: at most what qdwconv_quads_take does
 *   QUAD_OTHER                           the micro-kernel for all else
 */
#include "qdwconv.h"
#include "qdwconv_quads.h"

#ifndef QUAD_READ
#  define QUAD_READ(v) (v)
#  define QUAD_TAKES   qdwconv_quads_take
#  define QUAD_OTHER   qdwconv_micro_avx2
#endif

/* A vector has so many bytes, which is how many channels the largest groups have, and so many lanes. */
enum { QUAD_WIDEST = sizeof(QUAD_V), QUAD_LANE_COUNT = QUAD_WIDEST / QUAD_LANE };

/*
 * Output pixels of a strip at most, and vectors of a plane: what one of the four vectors is for the columns of one
 * parity.  An area is four planes; there is one for even columns, one for odd ones where the stride is 2, and one for
 * the last row of 5 x 5.  An odd number keeps planes in different sets of the cache.
 */
enum { QUAD_WIDTH = 28, QUAD_PLANE = 33, QUAD_AREA = 4 * QUAD_PLANE };

/* A group of channels. */
typedef struct {
    QUAD_V start[4]; /* where the sums start */
    QUAD_VF scale[4];
    const int8_t *w; /* [quad][4][QUAD_WIDEST] */
    size_t j;        /* the first of the channels */
    size_t channels; /* and how many, QUAD_WIDEST / per */
    size_t cols;     /* of which so many exist */
    int per, shift;  /* pixels of a vector, and its logarithm: divisions take long */
    int skips;       /* QT_SMALL ... */
} qdwconv_quad;

/* Vectors of so many pixels. */
static inline size_t qdwconv_quad_vectors(const qdwconv_quad *g, size_t pixels)
{
    return (pixels + (size_t)g->per - 1) >> g->shift;
}

/* The micro-kernel's scratch: groups, areas, and vectors of bytes that are still to be finished, [line][QUAD_WIDTH]. */
static size_t qdwconv_quad_areas_at(size_t c)
{
    return round_up(qdwconv_quads_groups(c, QUAD_WIDEST) * sizeof(qdwconv_quad), 64);
}

static size_t qdwconv_quad_scratch(size_t kh, size_t kw, size_t c)
{
    (void)kh, (void)kw;
    return qdwconv_quad_areas_at(c) + (3 * QUAD_AREA + 2 * QUAD_WIDTH) * QUAD_WIDEST;
}

static size_t qdwconv_quad_groups(size_t c) { return qdwconv_quads_groups(c, QUAD_WIDEST); }
static size_t qdwconv_quad_prepared(size_t kh, size_t kw, size_t c)
{
    return qdwconv_quads_bytes(kh, kw, c, QUAD_WIDEST);
}
static void qdwconv_quad_prepare(size_t kh, size_t kw, size_t c, const int8_t *w, const int32_t *wzp, void *made)
{
    (void)wzp; /* NULL: see qdwconv_quads_take */
    qdwconv_quads_make(kh, kw, c, w, QUAD_WIDEST, made);
}

/* An array's words of a group's channels, zeros beyond c; NULL: all zeros. */
static const uint32_t *qdwconv_quad_words(const qdwconv_quad *g, const void *array, uint32_t copy[QUAD_WIDEST])
{
    if (array && g->cols == g->channels)
        return (const uint32_t *)array + g->j;
    memset(copy, 0, QUAD_WIDEST * sizeof *copy);
    if (array)
        memcpy(copy, (const uint32_t *)array + g->j, g->cols * sizeof *copy);
    return copy;
}

/* Words in the order of sums: vector v. */
PCX_INLINE QUAD_V qdwconv_quad_vector(const qdwconv_quad *g, const uint32_t *words, size_t v)
{
    const uint32_t *lane[QUAD_LANE_COUNT];
    PCX_UNROLL for (size_t x = 0; x < QUAD_LANE_COUNT; x++)
        lane[x] = words + (x * QUAD_LANE & (g->channels - 1)) + 4 * v;
    return QUAD_LANES(lane);
}

/* acc = sum x w + bias - xzp colsum: what lies outside the image has the value xzp. */
static void qdwconv_quad_make(const qdwconv_layer *l)
{
    const int8_t *w = l->weights;
    qdwconv_quad *g = l->scratch;
    for (size_t done = 0; done < l->c; done = g->j + g->channels, g++) {
        uint32_t copy[3][QUAD_WIDEST];
        const qdwconv_quad_span s = qdwconv_quads_next(done, l->c, QUAD_WIDEST);
        g->w = w;
        g->j = s.j;
        g->channels = s.channels;
        g->cols = min_size(s.channels, l->c - s.j);
        g->shift = s.channels == QUAD_WIDEST ? 0 : s.channels == QUAD_WIDEST / 2 ? 1 : 2;
        g->per = 1 << g->shift;
        const uint32_t *bias = qdwconv_quad_words(g, l->tail->bias, copy[0]);
        const uint32_t *sum = qdwconv_quad_words(g, l->colsum, copy[1]);
        const uint32_t *scale = qdwconv_quad_words(g, l->tail->scale, copy[2]);
        QUAD_VF each[4];
        for (size_t v = 0; v < 4; v++) {
            g->start[v] = QUAD_LESS(qdwconv_quad_vector(g, bias, v), qdwconv_quad_vector(g, sum, v), l->xzp);
            g->scale[v] = each[v] = QUAD_FLOATS(qdwconv_quad_vector(g, scale, v));
        }
        g->skips = QUAD_SKIPS(&l->tail->clamp, (const float *)each);
        w += qdwconv_quads_count(l->kh) * 4 * QUAD_WIDEST;
    }
}

/* What interleaved vectors are made of: byte i of dword x from row[i], column x * sw + column[i]. */
typedef struct {
    const qdwconv_line *line;
    const uint8_t *row[4]; /* as line->row, the first of the group's channels */
    size_t column[4];      /* not falling */
    size_t sw, count;      /* of vectors, each of `per` dwords of a channel */
} qdwconv_quad_stage;

/* Four vectors of bytes to vector `to` of four planes. */
PCX_INLINE void qdwconv_quad_interleave(const QUAD_V r[4], QUAD_V *to)
{
    const QUAD_V a0 = QUAD_LOW(8, r[0], r[1]), a1 = QUAD_HIGH(8, r[0], r[1]);
    const QUAD_V b0 = QUAD_LOW(8, r[2], r[3]), b1 = QUAD_HIGH(8, r[2], r[3]);
    QUAD_STORE(to, QUAD_LOW(16, a0, b0));
    QUAD_STORE(to + QUAD_PLANE, QUAD_HIGH(16, a0, b0));
    QUAD_STORE(to + 2 * QUAD_PLANE, QUAD_LOW(16, a1, b1));
    QUAD_STORE(to + 3 * QUAD_PLANE, QUAD_HIGH(16, a1, b1));
}

/* Vector x, some of whose columns are missing. */
PCX_INLINE void qdwconv_quad_edge(const size_t per, const qdwconv_quad_stage *s, size_t x, QUAD_V *to)
{
    const qdwconv_line *line = s->line;
    const size_t first = x * per * s->sw;
    QUAD_V r[4];
    for (int i = 0; i < 4; i++) {
        const uint8_t *part[QUAD_LANE_COUNT];
        for (size_t n = 0; n < per; n++) {
            const size_t column = first + n * s->sw + s->column[i];
            const int there = column >= line->low && column < line->high;
            part[n] = there ? s->row[i] + (column - line->low) * line->step : line->pad;
        }
        r[i] = QUAD_READ(QUAD_JOIN(per, part));
    }
    qdwconv_quad_interleave(r, to);
}

/* Vectors [begin, end), of which columns are missing. */
static PCX_NOINLINE void qdwconv_quad_edges(size_t per, const qdwconv_quad_stage *s, size_t begin, size_t end,
                                            QUAD_V *to)
{
    const qdwconv_line *line = s->line;
    const size_t by = per * s->sw, reach = (per - 1) * s->sw + s->column[3];
    const QUAD_V pad = QUAD_READ(QUAD_LOAD(line->pad));
    for (size_t x = begin; x < end; x++)
        if (PCX_LIKELY(x * by + reach < line->low || x * by + s->column[0] >= line->high))
            for (size_t v = 0; v < 4; v++)
                QUAD_STORE(to + x + v * QUAD_PLANE, pad);
        else if (per == 1)
            qdwconv_quad_edge(1, s, x, to + x);
        else if (per == 2)
            qdwconv_quad_edge(2, s, x, to + x);
        else
            qdwconv_quad_edge(4, s, x, to + x);
}

/* Vectors [begin, end), all of whose columns are there; dense: columns that share a vector lie side by side. */
PCX_INLINE void qdwconv_quad_inside(const size_t per, const int dense, const qdwconv_quad_stage *s, size_t begin,
                                    size_t end, QUAD_V *to)
{
    const size_t by = per * s->sw, next = s->sw * s->line->step;
    const uint8_t *at[4];
    PCX_UNROLL for (int i = 0; i < 4; i++)
        at[i] = s->row[i] + (begin * by + s->column[i] - s->line->low) * s->line->step;
    for (size_t x = begin; x < end; x++) {
        QUAD_V r[4];
        PCX_UNROLL for (int i = 0; i < 4; i++) {
            const uint8_t *part[QUAD_LANE_COUNT];
            PCX_UNROLL for (size_t n = 0; n < per; n++)
                part[n] = at[i] + n * next;
            r[i] = dense ? QUAD_LOAD(at[i]) : QUAD_JOIN(per, part);
            PCX_KEEP(r[i]); /* loads are scarce: once each, not again as operands */
            r[i] = QUAD_READ(r[i]);
            at[i] += per * next;
        }
        qdwconv_quad_interleave(r, to + x);
    }
}

static PCX_NOINLINE void qdwconv_quad_stage_run(const qdwconv_quad *g, const qdwconv_quad_stage *s, QUAD_V *to)
{
    const size_t per = (size_t)g->per, by = per * s->sw, low = s->line->low, high = s->line->high;
    const int shift = g->shift + (int)(s->sw - 1); /* by = 2^shift */
    const size_t reach = (per - 1) * s->sw + s->column[3]; /* the last column of a vector, from its first on */
    const size_t first = low > s->column[0] ? (low - s->column[0] + by - 1) >> shift : 0;
    const size_t last = min_size(high > reach ? ((high - 1 - reach) >> shift) + 1 : 0, s->count);
    const int dense = s->sw * s->line->step == g->channels;
    if (first >= last) {
        qdwconv_quad_edges(per, s, 0, s->count, to);
        return;
    }
    qdwconv_quad_edges(per, s, 0, first, to);
    qdwconv_quad_edges(per, s, last, s->count, to);
    if (per == 1)
        qdwconv_quad_inside(1, 1, s, first, last, to);
    else if (per == 2 && dense)
        qdwconv_quad_inside(2, 1, s, first, last, to);
    else if (per == 2)
        qdwconv_quad_inside(2, 0, s, first, last, to);
    else if (dense)
        qdwconv_quad_inside(4, 1, s, first, last, to);
    else
        qdwconv_quad_inside(4, 0, s, first, last, to);
}

/* All columns of a strip for a group, interleaved. */
static void qdwconv_quad_fill(const qdwconv_layer *l, const qdwconv_quad *g, const qdwconv_line *line, QUAD_V *areas)
{
    const size_t rows = l->kh + line->lines - 1;
    const int half = (int)(l->sw - 1); /* the logarithm of sw */
    qdwconv_quad_stage s = { .line = line, .sw = l->sw };
    for (size_t i = 0; i < 4; i++) /* three rows: zero weights meet the last one again */
        s.row[i] = line->row[min_size(i, rows - 1)] + g->j;
    for (size_t parity = 0; parity < l->sw; parity++) {
        for (size_t i = 0; i < 4; i++)
            s.column[i] = parity;
        s.count = qdwconv_quad_vectors(g, line->count + ((l->kw - 1 - parity) >> half));
        qdwconv_quad_stage_run(g, &s, areas + parity * QUAD_AREA);
    }
    if (l->kh == 3)
        return;
    for (size_t i = 0; i < 4; i++) {
        s.row[i] = line->row[4] + g->j;
        s.column[i] = i;
    }
    s.count = qdwconv_quad_vectors(g, line->count + (4u >> half));
    qdwconv_quad_stage_run(g, &s, areas + l->sw * QUAD_AREA);
}

/* Where a strip's vectors of bytes go, so many a line: bytes to the next vector and line. */
typedef struct {
    uint8_t *out;
    size_t vectors, next, next_line;
} qdwconv_quad_target;

/* Of vector x the sums of `lines` lines of output, from columns at[kx] and, for 5 x 5, the last row's at[5], at[6]. */
PCX_INLINE void qdwconv_quad_sums(const int k, const int lines, const int8_t *w, QUAD_V held[][4],
                                  const QUAD_V start[4], const char *const at[7], size_t x, QUAD_V sum[][4])
{
    const int quads = k == 3 ? 3 : 7;
    PCX_UNROLL for (int r = 0; r < lines; r++)
        PCX_UNROLL for (int v = 0; v < 4; v++)
            sum[r][v] = start[v];
    PCX_UNROLL for (int quad = 0; quad < quads; quad++)
        PCX_UNROLL for (int v = 0; v < 4; v++) {
            QUAD_V dwords = QUAD_LOAD(at[quad] + x + (size_t)v * QUAD_PLANE * QUAD_WIDEST);
            if (lines > 1)
                PCX_KEEP(dwords);
            PCX_UNROLL for (int r = 0; r < lines; r++) {
                const int rank = quad * lines + r; /* the first ones are held */
                const int8_t *own = w + ((quad + 3 * r) * 4 + v) * QUAD_WIDEST;
                sum[r][v] = QUAD_DOT(sum[r][v], dwords, rank < QUAD_HELD ? held[rank][v] : QUAD_LOAD(own));
                PCX_KEEP(sum[r][v]);
            }
        }
}

/* One strip; bare: scales are small, no zero point, nothing to clamp. */
PCX_INLINE void qdwconv_quad_strip(const int k, const int sw, const int lines, const int bare, const qepilogue *t,
                                   const qdwconv_quad *g, const QUAD_V *areas, const qdwconv_quad_target *target)
{
    const qdwconv_quad_target to = *target; /* copies that no store of bytes reaches */
    const int quads = k == 3 ? 3 : 7;
    const QUAD_CLAMP clamp = QUAD_CLAMP_MAKE(&t->clamp);
    const int skips = bare ? QT_SMALL | QT_NO_ZERO | QT_NO_CLAMP : g->skips & QT_SMALL;
    const int8_t *w = g->w;
    const QUAD_VF *scale = g->scale;
    QUAD_V start[4], held[QUAD_HELD + 1][4];
    const char *at[7];
    PCX_UNROLL for (int quad = 0; quad < quads; quad++) {
        const int column = quad < 5 ? quad : 4 * (quad - 5); /* of x; of a pixel */
        const QUAD_V *area = areas + (quad < 5 ? column % sw : sw) * QUAD_AREA;
        at[quad] = (const char *)area + (size_t)(column / sw) * g->channels;
    }
    PCX_UNROLL for (int v = 0; v < 4; v++)
        start[v] = g->start[v];
    PCX_UNROLL for (int i = 0; i < QUAD_HELD; i++)
        PCX_UNROLL for (int v = 0; v < 4; v++)
            held[i][v] = QUAD_LOAD(w + ((i / lines + 3 * (i % lines)) * 4 + v) * QUAD_WIDEST);
    uint8_t *out = to.out;
    for (size_t x = 0; x < to.vectors; x++, out += to.next) {
        QUAD_V sum[2][4];
        PCX_OPAQUE(w); /* else weights are loaded in advance, and spilled */
        PCX_OPAQUE(scale);
        qdwconv_quad_sums(k, lines, w, held, start, at, x * QUAD_WIDEST, sum);
        PCX_UNROLL for (int r = 0; r < lines; r++) {
            QUAD_VF f[4];
            PCX_UNROLL for (int v = 0; v < 4; v++)
                f[v] = QUAD_SCALED(sum[r][v], scale[v]);
            QUAD_STORE(out + (size_t)r * to.next_line, QUAD_BYTES(f, &clamp, skips));
        }
    }
}

typedef void qdwconv_quad_fn(const qepilogue *t, const qdwconv_quad *g, const QUAD_V *areas,
                             const qdwconv_quad_target *target);

#define STRIP(k, sw, lines, bare) \
    static PCX_NOINLINE void qdwconv_quad_##k##_##sw##_##lines##_##bare( \
        const qepilogue *t, const qdwconv_quad *g, const QUAD_V *areas, const qdwconv_quad_target *target) \
    { \
        qdwconv_quad_strip(k, sw, lines, bare, t, g, areas, target); \
    }
STRIP(3, 1, 1, 0) STRIP(3, 1, 2, 0) STRIP(3, 2, 1, 0) STRIP(5, 1, 1, 0) STRIP(5, 2, 1, 0)
STRIP(3, 1, 1, 1) STRIP(3, 1, 2, 1) STRIP(3, 2, 1, 1) STRIP(5, 1, 1, 1) STRIP(5, 2, 1, 1)
#undef STRIP

/* [3 x 3, one line; two lines; 5 x 5][sw - 1][bare] */
static qdwconv_quad_fn *const qdwconv_quad_strips[3][2][2] = {
    { { qdwconv_quad_3_1_1_0, qdwconv_quad_3_1_1_1 }, { qdwconv_quad_3_2_1_0, qdwconv_quad_3_2_1_1 } },
    { { qdwconv_quad_3_1_2_0, qdwconv_quad_3_1_2_1 }, { NULL, NULL } },
    { { qdwconv_quad_5_1_1_0, qdwconv_quad_5_1_1_1 }, { qdwconv_quad_5_2_1_0, qdwconv_quad_5_2_1_1 } },
};

/* Vectors of bytes of pixels [i, i + count) to `out`, through table and residual where there are any. */
typedef void qdwconv_quad_after(const qepilogue *t, const qdwconv_quad *g, size_t i, size_t count, const QUAD_V *bytes,
                                uint8_t *out, size_t ldo);

PCX_INLINE void qdwconv_quad_run(const qdwconv_layer *l, const qdwconv_line *line, size_t begin, size_t end,
                                 qdwconv_quad_after *after)
{
    QUAD_V *areas = (QUAD_V *)((char *)l->scratch + qdwconv_quad_areas_at(l->c)), *wait = areas + 3 * QUAD_AREA;
    const size_t next = line->width * line->ldo;
    for (const qdwconv_quad *g = (const qdwconv_quad *)l->scratch + begin; begin < end; begin++, g++) {
        const size_t per = (size_t)g->per, vectors = qdwconv_quad_vectors(g, line->count);
        const int whole = per == 1 || (line->ldo == g->cols && g->cols == g->channels && !(line->count & (per - 1)));
        const int direct = whole && !l->tail->q.lut && !l->tail->q.residual;
        const int bare = g->skips == (QT_SMALL | QT_NO_ZERO | QT_NO_CLAMP);
        uint8_t *out = line->out + g->j;
        qdwconv_quad_target to = { out, vectors, per * line->ldo, next };
        if (!direct)
            to = (qdwconv_quad_target){ (uint8_t *)wait, vectors, QUAD_WIDEST, QUAD_WIDTH * QUAD_WIDEST };
        qdwconv_quad_fill(l, g, line, areas);
        qdwconv_quad_strips[l->kh == 5 ? 2 : line->lines - 1][l->sw - 1][bare](l->tail, g, areas, &to);
        for (size_t r = 0; !direct && r < line->lines; r++)
            after(l->tail, g, line->first + r * line->width, line->count, wait + r * QUAD_WIDTH, out + r * next,
                  line->ldo);
    }
}

/* The micro-kernel of a `run` that calls qdwconv_quad_run. */
#define QDWCONV_QUAD_MICRO(run_) \
    { \
        .channels = QUAD_WIDEST, .width = QUAD_WIDTH, .lines = 2, .groups = qdwconv_quad_groups, \
        .prepared = qdwconv_quad_prepared, .prepare = qdwconv_quad_prepare, .scratch = qdwconv_quad_scratch, \
        .make = qdwconv_quad_make, .run = run_, .takes = QUAD_TAKES, .other = &QUAD_OTHER \
    }
