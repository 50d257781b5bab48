/*
 * bgemm_amx.c - AMX: tdpbf16ps adds to a tile of 16 x 16 floats the products of 16 rows and 16 columns over up to 32 k;
 * it rounds to nearest even and takes subnormal numbers for zero.  Weights are read as they are packed: 16 steps of a
 * panel are a tile.  2 x 2 tiles of sums; between their products the sums of the tiles before
 * become outputs.
 */
#include "bgemm.h"

#include "../common/act_avx512.h"
#include "../common/amx.h"

#if PCX_X86
PCX_TARGET(PCX_TARGET_AVX512 ",avx512bf16,amx-tile,amx-bf16")

enum { BGEMM_AMX_TALL = 2 * AMX_ROWS, BGEMM_AMX_WIDE = 2 };

/* Sums on their way to outputs: `count` rows from `first` on are still to be done. */
typedef struct {
    const bgemm_rows *r;
    const bgemm_target *to;
    size_t column, width, first, count;
    float *sum;
} bgemm_amx_output;

/* By a call, for activations that need more registers than there are beside the products. */
static void bgemm_amx_finish(bgemm_amx_output *o)
{
    if (o->count)
        bgemm_avx512_finish(o->r, o->first, o->count, o->to, o->column, o->sum, o->width);
    o->count = 0;
}

/*
 * All others between the products, without a call, which would take half of the time: what a function keeps in
 * registers.  A row is one vector, or two.
 */
typedef struct {
    __m512 low, high;
    __mmask16 mask, last; /* which columns of the vectors are there */
    int swish;
    size_t second; /* where the second vector begins; 0: there is one */
    size_t rows, width, ldo, ldr;
    const float *sum, *residual;
    float *out;
} bgemm_amx_pieces;

static int bgemm_amx_in_pieces(const pcx_epilogue *tail)
{
    return tail->act <= PCX_ACT_CLIP || tail->act == PCX_ACT_HARDSWISH;
}

PCX_INLINE bgemm_amx_pieces bgemm_amx_pieces_make(const bgemm_amx_output *o)
{
    const pcx_epilogue *const tail = o->to->tail;
    const bgemm_rows *const r = o->r;
    const size_t second = o->width - SGEMM_NR, columns = min_size(o->width, o->to->n - o->column);
    const __mmask16 last = (__mmask16)(0xffff >> (o->width - columns));
    float bounds[2];
    act_bounds(tail->act, tail->act_params, bounds, bounds + 1);
    return (bgemm_amx_pieces){ .low = _mm512_set1_ps(bounds[0]), .high = _mm512_set1_ps(bounds[1]),
                               .mask = second ? 0xffff : last, .last = last, .swish = tail->act == PCX_ACT_HARDSWISH,
                               .second = second, .rows = o->count, .width = o->width, .ldo = r->ldo, .ldr = r->ldr,
                               .sum = o->sum, .out = r->out + o->first * r->ldo + o->column,
                               .residual = r->residual ? r->residual + o->first * r->ldr + o->column : NULL };
}

PCX_INLINE __m512 bgemm_amx_act(const bgemm_amx_pieces *p, __m512 x)
{
    if (p->swish)
        return act_avx512_apply(x, PCX_ACT_HARDSWISH, NULL);
    return _mm512_min_ps(p->high, _mm512_max_ps(p->low, x)); /* of NaN, the second argument */
}

/* A vector of a row. */
PCX_INLINE void bgemm_amx_put_one(const bgemm_amx_pieces *p, size_t at, __mmask16 mask)
{
    __m512 x = _mm512_loadu_ps(p->sum + at);
    if (p->residual)
        x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, p->residual + at));
    _mm512_mask_storeu_ps(p->out + at, mask, bgemm_amx_act(p, x));
}

/* The next `count` rows, if there are so many. */
PCX_INLINE void bgemm_amx_put(bgemm_amx_pieces *p, size_t count)
{
    for (; count && p->rows; count--, p->rows--) {
        PCX_OPAQUE(p->swish); /* one loop, not one for each activation and width */
        PCX_OPAQUE(p->second);
        bgemm_amx_put_one(p, 0, p->mask);
        if (p->second)
            bgemm_amx_put_one(p, p->second, p->last);
        if (p->residual)
            p->residual += p->ldr;
        p->sum += p->width;
        p->out += p->ldo;
    }
}

/* Two tiles of rows times two panels, or one: tiles 0 to 3 are the sums, a row of tiles after the other. */
typedef struct {
    const char *a0, *a1;
    const uint16_t *w0, *w1;
    size_t lda;
    amx_chunks chunks;
    size_t some;      /* rows to finish after each product */
    size_t fetched;   /* lines to fetch into L2 after each product: of the weights that the next panels begin with */
    const char *next; /* where the next ones lie */
} bgemm_amx_two;

/* Weights of most networks lie in L3, which delivers less than tiles read. */
PCX_INLINE void bgemm_amx_fetch(bgemm_amx_two *z)
{
    const char *next = z->next;
    for (size_t x = 0; x < z->fetched; x++, next += 64)
        _mm_prefetch(next, _MM_HINT_T1);
    z->next = next;
}

#define SUMS(c, a, w)               \
    do {                            \
        PCX_TILE_DOT_BF16(c, a, w); \
        bgemm_amx_fetch(z);         \
        bgemm_amx_put(p, z->some);  \
    } while (0)

/* All chunks are alike. */
PCX_INLINE void bgemm_amx_alike(const int panels, bgemm_amx_two *z, bgemm_amx_pieces *p)
{
    size_t a = 0, w = 0;
    for (size_t i = 0; i < z->chunks.count; i++, a += z->chunks.steps * 4, w += z->chunks.steps * BGEMM_PAIRS) {
        PCX_TILE_LOAD(4, z->a0 + a, z->lda);
        PCX_TILE_LOAD(6, z->w0 + w, 64);
        SUMS(0, 4, 6);
        if (panels > 1) {
            PCX_TILE_LOAD(7, z->w1 + w, 64);
            SUMS(1, 4, 7);
        }
        PCX_TILE_LOAD(5, z->a1 + a, z->lda);
        SUMS(2, 5, 6);
        if (panels > 1)
            SUMS(3, 5, 7);
    }
}

/* One chunk, rows in tile x, weights in y; `sums` adds the products. */
#define CHUNK(x, y, sums)                    \
    do {                                     \
        PCX_TILE_LOAD(x, z->a0 + a, z->lda); \
        PCX_TILE_LOAD(y, z->w0 + w, 64);     \
        sums(0, x, y);                       \
        if (panels > 1) {                    \
            PCX_TILE_LOAD(y, z->w1 + w, 64); \
            sums(1, x, y);                   \
        }                                    \
        PCX_TILE_LOAD(x, z->a1 + a, z->lda); \
        if (panels > 1) {                    \
            sums(3, x, y);                   \
            PCX_TILE_LOAD(y, z->w0 + w, 64); \
        }                                    \
        sums(2, x, y);                       \
    } while (0)

/* Whole chunks in tiles 4 and 5, the shorter last one in 6 and 7. */
PCX_INLINE void bgemm_amx_unlike(const int panels, bgemm_amx_two *z, bgemm_amx_pieces *p)
{
    size_t a = 0, w = 0;
    for (size_t i = 0; i < z->chunks.count; i++, a += AMX_ROW_BYTES, w += AMX_STEPS * BGEMM_PAIRS)
        CHUNK(4, 5, SUMS);
    CHUNK(6, 7, PCX_TILE_DOT_BF16);
}
#undef CHUNK
#undef SUMS

/* From where the sums start to where they are stored. */
PCX_INLINE void bgemm_amx_products(const int panels, bgemm_amx_two *z, const float *start, size_t each, float *sum,
                                   const bgemm_amx_output *o)
{
    bgemm_amx_pieces p = bgemm_amx_pieces_make(o);
    const size_t width = (size_t)panels * SGEMM_NR, stride = width * sizeof(float);
    float *const lower = sum + each * width;
    PCX_TILE_LOAD(0, start, 0);
    PCX_TILE_LOAD(2, start, 0);
    if (panels > 1) {
        PCX_TILE_LOAD(1, start + SGEMM_NR, 0);
        PCX_TILE_LOAD(3, start + SGEMM_NR, 0);
    }
    if (z->chunks.rest)
        bgemm_amx_unlike(panels, z, &p);
    else
        bgemm_amx_alike(panels, z, &p);
    bgemm_amx_put(&p, BGEMM_AMX_TALL);
    PCX_TILE_STORE(0, sum, stride);
    PCX_TILE_STORE(2, lower, stride);
    if (panels > 1) {
        PCX_TILE_STORE(1, sum + SGEMM_NR, stride);
        PCX_TILE_STORE(3, lower + SGEMM_NR, stride);
    }
}

#define PRODUCTS(panels)                                                                                            \
    static PCX_NOINLINE void bgemm_amx_products_##panels(bgemm_amx_two *z, const float *start, size_t each,         \
                                                         float *sum, const bgemm_amx_output *o)                     \
    {                                                                                                               \
        bgemm_amx_products(panels, z, start, each, sum, o);                                                         \
    }
PRODUCTS(1) PRODUCTS(2)
#undef PRODUCTS

static void bgemm_amx_configure(amx_tiles *tiles, size_t rows, const amx_chunks *chunks)
{
    const size_t steps = chunks->steps, rest = chunks->rest;
    amx_config config = { 0 };
    for (size_t x = 0; x < 4; x++)
        amx_config_tile(&config, x, rows, AMX_ROW_BYTES);
    amx_config_tile(&config, 4, rows, 4 * steps);
    amx_config_tile(&config, rest ? 5 : 6, steps, AMX_ROW_BYTES);
    amx_config_tile(&config, rest ? 6 : 5, rows, 4 * (rest ? rest : steps));
    amx_config_tile(&config, 7, rest ? rest : steps, AMX_ROW_BYTES);
    amx_configure(tiles, &config);
}

/*
 * Tiles of rows are as equal as can be, in twos: 49 rows are 4 x 13.  The last tile's rows beyond the block's are
 * nonsense in scratch, and so are their sums, which nobody reads.
 */
static void bgemm_amx_run(const bgemm_rows *r, const bgemm_target *to, size_t begin, size_t end)
{
    _Alignas(64) float start[BGEMM_AMX_WIDE * SGEMM_NR], sum[2][BGEMM_AMX_TALL * BGEMM_AMX_WIDE * SGEMM_NR];
    const size_t count = r->count, bytes = r->lda;
    const size_t pairs = ceil_div(count, BGEMM_AMX_TALL), each = count ? ceil_div(count, 2 * pairs) : 1;
    bgemm_amx_two z = { .lda = bytes, .chunks = amx_chunks_make(r->steps) };
    const int in_pieces = bgemm_amx_in_pieces(to->tail);
    bgemm_amx_output o = { .r = r, .to = to, .width = SGEMM_NR, .sum = sum[0] };
    amx_tiles tiles;
    amx_enter(&tiles);
    bgemm_amx_configure(&tiles, each, &z.chunks);
    for (size_t panel = begin, wide, turn = 0; panel < end; panel += wide) {
        wide = min_size(BGEMM_AMX_WIDE, end - panel);
        z.w0 = to->w + panel * to->ldw;
        z.w1 = z.w0 + (wide > 1 ? to->ldw : 0);
        const size_t products = max_size(1, 2 * wide * z.chunks.count);
        z.some = ceil_div(2 * each, products);
        z.next = (const char *)(z.w0 + wide * to->ldw);
        z.fetched = r->fresh && panel + wide < end ? ceil_div(wide * r->steps, pairs * products) : 0;
        bgemm_start(to, panel, wide, start);
        for (size_t i = 0; i < count; i += 2 * each, turn++) {
            z.a0 = r->a + i * bytes;
            z.a1 = z.a0 + each * bytes;
            if (!in_pieces)
                bgemm_amx_finish(&o);
            (wide > 1 ? bgemm_amx_products_2 : bgemm_amx_products_1)(&z, start, each, sum[turn % 2], &o);
            o.column = panel * SGEMM_NR; /* a copy of the whole would wait for the tiles that are being stored */
            o.width = wide * SGEMM_NR;
            o.first = i;
            o.count = min_size(2 * each, count - i);
            o.sum = sum[turn % 2];
        }
    }
    bgemm_amx_finish(&o);
    amx_leave(&tiles);
}

PCX_HIDDEN extern const bgemm_micro bgemm_micro_amx;
const bgemm_micro bgemm_micro_amx = { BGEMM_AMX_TALL, sizeof(uint16_t), bgemm_avx512bf16_round, bgemm_amx_run, 0 };

PCX_TARGET_END
#endif
