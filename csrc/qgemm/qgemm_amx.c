/*
 * qgemm_amx.c - AMX: tdpbusd adds to a tile of 16 x 16 int32 the products of 16 rows and 16 columns over up to 64 k,
 * modulo 2^32, without saturation.  Weights are read as they are packed: 16 steps of a panel are a tile.  Rows are read
 * where they stand if their distances are equal.
 *
 * Up to 64 k: tiles of the weights of four panels stay for all rows of the block.  Beyond: 2 x 2 tiles of sums.  Both
 * turn the sums of the tiles before into outputs between the products: that takes as long as the products do.
 */
#include "qgemm.h"

#include "qgemm_amx.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,amx-tile,amx-int8")

/* One panel's sums of 16 rows of one tile of k, in tile c with the weights in tile w. */
#define PANEL(p, c, w) \
    if (p < panels) { \
        PCX_TILE_LOAD(c, s->start[p], k.by_row); \
        PCX_TILE_DOT(us, c, 0, w); \
        PCX_TILE_STORE(c, sum + p * QGEMM_NR, 4 * o->lds); \
        if (per) \
            qgemm_amx_put(&pieces, per, some); \
        else \
            qgemm_amx_finish(o, some); \
    }

/* Up to four panels whose tiles of weights stay.  `per`: rows of a piece, or 0 if outputs cannot be made in pieces. */
PCX_INLINE void qgemm_amx_staying(const qgemm_block *b, size_t panel, const size_t panels, const int per)
{
    qgemm_amx_space *const s = (qgemm_amx_space *)(void *)b->scratch;
    qgemm_amx_output *const o = &s->output[0];
    qgemm_amx_work k;
    qgemm_amx_work_make(b, panel, panels, o, &k);
    o->lds = 4 * QGEMM_NR / (size_t)o->tail.per;
    qgemm_amx_pieces pieces = qgemm_amx_pieces_make(o);
    const amx_split split = qgemm_amx_split(b, 1);
    amx_config config = { 0 };
    for (size_t x = 0; x < 4; x++) {
        amx_config_tile(&config, x, split.rows, x ? AMX_ROW_BYTES : 4 * b->steps);
        amx_config_tile(&config, 4 + x, b->steps, AMX_ROW_BYTES);
    }
    amx_configure(&s->tiles, &config);
    PCX_TILE_LOAD(4, k.w, 64);
    if (panels > 1)
        PCX_TILE_LOAD(5, k.w + k.panel, 64);
    if (panels > 2)
        PCX_TILE_LOAD(6, k.w + 2 * k.panel, 64);
    if (panels > 3)
        PCX_TILE_LOAD(7, k.w + 3 * k.panel, 64);
    const size_t each = ceil_div(split.rows, panels);
    const size_t some = per ? ceil_div(each, (size_t)per) : round_up(each, (size_t)o->tail.per);
    for (size_t t = 0; t < split.count; t++) {
        const size_t r = min_size(t * split.rows, split.last);
        qgemm_amx_tile tile;
        qgemm_amx_tile_make(b, r, split.rows, &tile);
        int32_t *const sum = s->sum[t % 2];
        ptrdiff_t stride;
        const uint8_t *a = qgemm_amx_rows(&tile, s->at[0], b->steps, s->staged[0], &stride);
        qgemm_amx_start(&k, r, split.rows);
        PCX_TILE_LOAD(0, a, stride);
        PANEL(0, 1, 4)
        PANEL(1, 2, 5)
        PANEL(2, 3, 6)
        PANEL(3, 1, 7)
        if (per) {
            qgemm_amx_put(&pieces, per, AMX_ROWS);
            o->r = o->rows - pieces.rows;
        }
        qgemm_amx_finish(o, AMX_ROWS);
        qgemm_amx_next(&k, r, min_size(split.rows, b->rows - r), sum);
        if (per)
            qgemm_amx_pieces_next(&pieces, o);
    }
    qgemm_amx_finish(o, AMX_ROWS);
}
#undef PANEL

#define STAYING(per) \
    static PCX_NOINLINE void qgemm_amx_staying_##per(const qgemm_block *b, size_t panel, size_t panels) \
    { \
        qgemm_amx_staying(b, panel, panels, per); \
    }
STAYING(0) STAYING(1) STAYING(2) STAYING(4)
#undef STAYING
static void (*const qgemm_amx_stayings[])(const qgemm_block *b, size_t panel, size_t panels) = {
    [0] = qgemm_amx_staying_0, [1] = qgemm_amx_staying_1, [2] = qgemm_amx_staying_2, [4] = qgemm_amx_staying_4
};

/* Two tiles of rows times two panels, or one: tiles 0 to 3 are the sums, a row of tiles after the other. */
typedef struct {
    qgemm_amx_tile tile[2];
    const int8_t *w0, *w1;
    size_t some; /* rows, or pieces of two rows, to finish after each product */
} qgemm_amx_two;

#define ROWS(x, to, steps) \
    do { \
        ptrdiff_t stride_; \
        const uint8_t *rows_ = qgemm_amx_rows(z->tile + x, s->at[i], steps, s->staged[x], &stride_); \
        PCX_TILE_LOAD(to, rows_, stride_); \
    } while (0)
#define WEIGHTS(x, to) PCX_TILE_LOAD(to, z->w##x + 16 * s->at[i][0], 64)
#define SUMS(c, a, w) \
    do { \
        PCX_TILE_DOT(us, c, a, w); \
        if (direct) \
            qgemm_amx_put(pieces, 2, z->some); \
        else \
            qgemm_amx_finish(o, z->some); \
    } while (0)

/* All chunks are alike. */
PCX_INLINE void qgemm_amx_alike(const int panels, const int direct, qgemm_amx_space *s, const qgemm_amx_two *z,
                                 qgemm_amx_output *o, qgemm_amx_pieces *pieces)
{
    for (size_t i = 0; i < s->count; i++) {
        ROWS(0, 4, s->chunks.steps);
        WEIGHTS(0, 6);
        SUMS(0, 4, 6);
        if (panels > 1) {
            WEIGHTS(1, 7);
            SUMS(1, 4, 7);
        }
        ROWS(1, 5, s->chunks.steps);
        SUMS(2, 5, 6);
        if (panels > 1)
            SUMS(3, 5, 7);
    }
}

/* One chunk, rows in tile a, weights in w. */
#define CHUNK(a, w, steps) \
    do { \
        ROWS(0, a, steps); \
        WEIGHTS(0, w); \
        SUMS(0, a, w); \
        if (panels > 1) { \
            WEIGHTS(1, w); \
            SUMS(1, a, w); \
            ROWS(1, a, steps); \
            SUMS(3, a, w); \
            WEIGHTS(0, w); \
            SUMS(2, a, w); \
        } else { \
            ROWS(1, a, steps); \
            SUMS(2, a, w); \
        } \
        i++; \
    } while (0)

/* Whole chunks in tiles 4 and 5, the shorter last one of each stretch of k in 6 and 7. */
PCX_INLINE void qgemm_amx_unlike(const int panels, const int direct, qgemm_amx_space *s, const qgemm_amx_two *z,
                                 qgemm_amx_output *o, qgemm_amx_pieces *pieces)
{
    for (size_t i = 0; i < s->count;) {
        for (size_t x = 0; x < s->chunks.count; x++)
            CHUNK(4, 5, AMX_STEPS);
        CHUNK(6, 7, s->chunks.rest);
    }
}
#undef ROWS
#undef WEIGHTS
#undef SUMS
#undef CHUNK

/* `direct`: outputs are made in pieces. */
#define PRODUCTS(name, panels, direct) \
    static PCX_NOINLINE void name(qgemm_amx_space *s, const qgemm_amx_two *z, qgemm_amx_output *o) \
    { \
        qgemm_amx_pieces pieces = qgemm_amx_pieces_make(o); \
        if (s->chunks.rest) \
            qgemm_amx_unlike(panels, direct, s, z, o, &pieces); \
        else \
            qgemm_amx_alike(panels, direct, s, z, o, &pieces); \
        if (direct) { \
            qgemm_amx_put(&pieces, 2, AMX_ROWS); \
            o->r = o->rows - pieces.rows; \
        } \
        qgemm_amx_finish(o, 2 * AMX_ROWS); \
    }
PRODUCTS(qgemm_amx_products_1, 1, 0)
PRODUCTS(qgemm_amx_products_2, 2, 0)
PRODUCTS(qgemm_amx_products_pieces, 2, 1)
#undef PRODUCTS

static void qgemm_amx_configure_two(qgemm_amx_space *s, size_t rows)
{
    const size_t steps = s->chunks.steps, rest = s->chunks.rest;
    amx_config config = { 0 };
    for (size_t x = 0; x < 4; x++)
        amx_config_tile(&config, x, rows, AMX_ROW_BYTES);
    amx_config_tile(&config, 4, rows, 4 * steps);
    amx_config_tile(&config, rest ? 5 : 6, steps, AMX_ROW_BYTES);
    amx_config_tile(&config, rest ? 6 : 5, rows, 4 * (rest ? rest : steps));
    amx_config_tile(&config, 7, rest ? rest : steps, AMX_ROW_BYTES);
    amx_configure(&s->tiles, &config);
}

/* The sums before, whatever they are of, turn into outputs meanwhile. */
static void qgemm_amx_products(qgemm_amx_space *s, qgemm_amx_two *z, size_t panels, qgemm_amx_output *before)
{
    const size_t per = (size_t)before->tail.per, each = ceil_div(before->rows, max_size(2 * panels * s->count, 1));
    const int direct = before->rows && /* else there is nothing before, and no tail either */
                       panels == 2 && per == 2 && before->lds == 2 * QGEMM_NR &&
                       qepilogue_avx512_in_pieces(&before->tail);
    z->some = direct ? ceil_div(each, per) : round_up(each, max_size(per, 1));
    (direct ? qgemm_amx_products_pieces : panels > 1 ? qgemm_amx_products_2 : qgemm_amx_products_1)(s, z, before);
}

static void qgemm_amx_pair(const qgemm_block *b, size_t panel, size_t panels)
{
    qgemm_amx_space *const s = (qgemm_amx_space *)(void *)b->scratch;
    qgemm_amx_output *before = &s->output[s->pair++ % 2], *const o = &s->output[s->pair % 2];
    qgemm_amx_work k;
    qgemm_amx_work_make(b, panel, panels, o, &k);
    const amx_split split = qgemm_amx_split(b, 2);
    qgemm_amx_two z = { .w0 = k.w, .w1 = k.w + (panels > 1 ? k.panel : 0) };
    qgemm_amx_configure_two(s, split.rows);
    for (size_t t = 0; t < split.count; t += 2, before = o) {
        const size_t r = min_size(t * split.rows, split.last), second = min_size(r + split.rows, split.last) - r;
        const size_t below = k.by_row ? second * panels : 0;
        int32_t *const sum = s->sum[s->block++ % 2], *const lower = sum + second * o->lds;
        for (size_t x = 0; x < 2; x++)
            qgemm_amx_tile_make(b, r + x * second, split.rows, &z.tile[x]);
        qgemm_amx_start(&k, r, second + split.rows);
        PCX_TILE_LOAD(0, s->start[0], k.by_row);
        PCX_TILE_LOAD(2, s->start[below], k.by_row);
        if (panels > 1) {
            PCX_TILE_LOAD(1, s->start[1], k.by_row);
            PCX_TILE_LOAD(3, s->start[1 + below], k.by_row);
        }
        qgemm_amx_products(s, &z, panels, before);
        PCX_TILE_STORE(0, sum, 4 * o->lds);
        PCX_TILE_STORE(2, lower, 4 * o->lds);
        if (panels > 1) {
            PCX_TILE_STORE(1, sum + QGEMM_NR, 4 * o->lds);
            PCX_TILE_STORE(3, lower + QGEMM_NR, 4 * o->lds);
        }
        qgemm_amx_next(&k, r, min_size(second + split.rows, b->rows - r), sum);
    }
}

static void qgemm_amx_run(const qgemm_block *b, size_t panel, size_t count)
{
    if (qgemm_amx_stays(((qgemm_amx_space *)(void *)b->scratch)->count)) {
        const size_t j = panel * QGEMM_NR, cols = min_size(count * QGEMM_NR, b->n - j);
        const qepilogue_avx512_columns tail = qepilogue_avx512_columns_make(b->tail, j, cols, 1);
        qgemm_amx_stayings[qepilogue_avx512_in_pieces(&tail) ? tail.per : 0](b, panel, count);
        return;
    }
    for (size_t x = 0; x < count; x += 2)
        qgemm_amx_pair(b, panel + x, min_size(2, count - x));
}

PCX_HIDDEN extern const qgemm_micro qgemm_micro_amx;
const qgemm_micro qgemm_micro_amx = { .mr = AMX_ROWS, .panels = QGEMM_AMX_PANELS, .scratch = qgemm_amx_scratch,
                                      .run = qgemm_amx_run, .rows = 2 * AMX_ROWS, .near = 524288,
                                      .group = qgemm_amx_group, .lines = 1,
                                      .enter = qgemm_amx_enter, .leave = qgemm_amx_leave };

PCX_TARGET_END
#endif
