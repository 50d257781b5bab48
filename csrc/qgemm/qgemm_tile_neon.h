/* qgemm_tile_neon.h - what the micro-kernels for AArch64 share: everything but the inner product. */
#ifndef PCX_QGEMM_TILE_NEON_H
#define PCX_QGEMM_TILE_NEON_H

#include "../common/qepilogue_neon.h"
#include "qgemm_block.h"

#if PCX_ARM64

enum { QGEMM_NEON_MR_MAX = 8 };

/* One tile's operands. */
typedef struct {
    const uint8_t *const *row;        /* its rows */
    const ptrdiff_t *offset;          /* where step s of a row is; NULL: at 4 s */
    size_t steps, together;           /* so many steps from each multiple of `together` on are side by side */
    const int8_t *w;                  /* of the panel */
    int zipped;                       /* it is of a pair of steps each, eight k of each column */
    const uint8_t *depth;             /* of each window of QGEMM_WINDOW steps, qgemm_acc16_neon.c, or NULL */
    const int32_t (*start)[QGEMM_NR]; /* where the sums of each row start */
} qgemm_neon_tile;

/* Where a tile's outputs go, if straight from registers. */
typedef struct {
    const qepilogue_neon_columns *tail;
    size_t ldo;
    uint8_t *out;
} qgemm_neon_target;

/* One inner product. */
typedef struct {
    size_t mr;    /* rows of a tile */
    int flips;    /* reads u8 less 128 as i8: its sums start 128 colsum higher */
    int zips;     /* `prepared` is weights zipped, and no depths */
    /* The outputs of `count` whole tiles, to bytes without table and residual. */
    void (*sweep)(qgemm_neon_tile *t, size_t count, qgemm_neon_target to);
    /* The sums of a tile of `rows` rows; those of rows beyond them may be written, too. */
    void (*sums)(const qgemm_neon_tile *t, size_t rows, int32_t to[][QGEMM_NR]);
} qgemm_neon_product;

/* Bytes of a panel's zipped weights. */
static inline size_t qgemm_neon_zipped(size_t steps) { return round_up(steps, 2) * QGEMM_STEP; }

/* One row of sums to bytes. */
PCX_INLINE void qgemm_neon_put(const qgemm_neon_target *to, size_t r, const int32x4_t sum[4])
{
    qepilogue_neon_store(to->out + r * to->ldo, qepilogue_neon_sums(to->tail, sum), to->tail->cols);
}

/* The block's outputs in panel `panel`. */
PCX_INLINE void qgemm_neon_panel(const qgemm_block *b, size_t panel, const qgemm_neon_product *product)
{
    const size_t mr = product->mr, j = panel * QGEMM_NR, cols = min_size(QGEMM_NR, b->n - j);
    const size_t ldo = b->ldo * b->tail->bytes;
    const int by_row = b->zero || b->row_sum;
    const qepilogue_neon_columns tail = qepilogue_neon_columns_make(b->tail, j, cols);
    _Alignas(64) int32_t start[QGEMM_NEON_MR_MAX][QGEMM_NR], sum[QGEMM_NEON_MR_MAX][QGEMM_NR];
    qgemm_columns c;
    qgemm_columns_make(b, j, cols, &c);
    for (size_t x = 0; product->flips && x < cols; x++)
        c.base[x] += 128 * (uint32_t)b->colsum[j + x];
    qgemm_start_rows(b, 0, mr, &c, start);
    qgemm_neon_tile t = { .steps = b->steps, .w = b->w + panel * b->steps * QGEMM_STEP,
                          .start = (const int32_t(*)[QGEMM_NR])start };
    if (b->prepared && product->zips) {
        t.zipped = 1;
        t.w = (const int8_t *)b->prepared + panel * qgemm_neon_zipped(b->steps);
    } else if (b->prepared) {
        t.depth = (const uint8_t *)b->prepared + panel * qgemm_acc16_windows(b->steps);
    }
    uint8_t *out = (uint8_t *)b->out + b->i * ldo + j * b->tail->bytes;
    for (size_t r = 0, rows; r < b->rows; r += rows) {
        const int table = b->table && b->in_place[r / mr];
        const size_t alike = qgemm_whole_tiles(b, r, mr), whole = by_row ? min_size(alike, 1) : alike;
        t.row = b->row + r;
        t.offset = table ? b->table : NULL;
        t.together = table ? b->together : b->steps;
        if (by_row && r)
            qgemm_start_rows(b, r, mr, &c, start);
        if (whole && tail.plain) {
            rows = whole * mr;
            product->sweep(&t, whole, (qgemm_neon_target){ &tail, ldo, out + r * ldo });
        } else {
            rows = min_size(mr, b->rows - r);
            product->sums(&t, rows, sum);
            qepilogue_neon_rows(&tail, b->i + r, rows, sum, out + r * ldo, ldo);
        }
    }
}

/*
 * The functions of a product from its inner loop `isa`_sums(mr, t, sum): a tile's sums in registers.  few < mr: rows of a
 * smaller tile.  zips: `prepare` zips its weights, and no step's place is in a table.
 */
#define QGEMM_NEON_PRODUCT(isa, rows_max, few, flipped, zipped)                                                 \
    static PCX_NOINLINE void qgemm_##isa##_sweep(qgemm_neon_tile *t, size_t count, qgemm_neon_target to)        \
    {                                                                                                           \
        for (; count; count--, t->row += rows_max, to.out += rows_max * to.ldo) {                               \
            int32x4_t sum[rows_max][4];                                                                         \
            qgemm_##isa##_sums(rows_max, t, sum);                                                               \
            PCX_UNROLL for (size_t r = 0; r < rows_max; r++)                                                    \
                qgemm_neon_put(&to, r, sum[r]);                                                                 \
        }                                                                                                       \
    }                                                                                                           \
    PCX_INLINE void qgemm_##isa##_store(const int mr, const qgemm_neon_tile *t, int32_t to[][QGEMM_NR])         \
    {                                                                                                           \
        int32x4_t sum[rows_max][4];                                                                             \
        qgemm_##isa##_sums(mr, t, sum);                                                                         \
        PCX_UNROLL for (int r = 0; r < mr; r++)                                                                 \
            PCX_UNROLL for (int v = 0; v < 4; v++)                                                              \
                vst1q_s32(to[r] + 4 * v, sum[r][v]);                                                            \
    }                                                                                                           \
    static PCX_NOINLINE void qgemm_##isa##_some(const qgemm_neon_tile *t, size_t rows, int32_t to[][QGEMM_NR])  \
    {                                                                                                           \
        if (rows <= few)                                                                                        \
            qgemm_##isa##_store(few, t, to);                                                                    \
        else                                                                                                    \
            qgemm_##isa##_store(rows_max, t, to);                                                               \
    }                                                                                                           \
    static void qgemm_##isa##_run(const qgemm_block *b, size_t panel, size_t count)                             \
    {                                                                                                           \
        static const qgemm_neon_product product = { rows_max, flipped, zipped, qgemm_##isa##_sweep,             \
                                                    qgemm_##isa##_some };                                       \
        for (size_t x = panel; x < panel + count; x++)                                                          \
            qgemm_neon_panel(b, x, &product);                                                                   \
    }                                                                                                           \
    PCX_HIDDEN extern const qgemm_micro qgemm_micro_##isa;                                                      \
    const qgemm_micro qgemm_micro_##isa = { .mr = rows_max, .panels = 1, .run = qgemm_##isa##_run };

#endif
#endif
