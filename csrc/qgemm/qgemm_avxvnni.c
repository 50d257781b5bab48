/*
 * qgemm_avxvnni.c - tiles of 6 rows x 16 columns on 256-bit VNNI: vpdpbusd adds four products of u8 and i8 to an int32
 * without saturation, so the weights serve as they are stored.  12 sums, 2 weights and a broadcast fill 15 registers.
 */
#include "qgemm.h"
#include "qgemm_put_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avxvnni")

/* One tile's operands. */
typedef struct {
    const uint8_t *const *row; /* QGEMM_MR rows; step s of a row is 4 bytes at offset[s], or at 4 s */
    const ptrdiff_t *offset;
    size_t steps;
    const int8_t *w;                  /* of the panel */
    const int32_t (*start)[QGEMM_NR]; /* where the sums of each row start */
} qgemm_avxvnni_tile;

/* Sums of mr rows with `halves` times eight columns. */
PCX_INLINE void qgemm_avxvnni_sums(const int mr, const int halves, const int table, const qgemm_avxvnni_tile *t,
                                   __m256i sum[][2])
{
    const ptrdiff_t *const offset = t->offset;
    const size_t steps = t->steps;
    const int8_t *w = t->w;
    const uint8_t *row[QGEMM_MR];
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = t->row[r];
        PCX_UNROLL for (int h = 0; h < halves; h++)
            sum[r][h] = qgemm_load(t->start[r] + 8 * h);
    }
    for (size_t s = 0; s < steps; s++, w += QGEMM_STEP) {
        const ptrdiff_t at = qgemm_at(offset, table, s);
        const __m256i w0 = qgemm_load(w), w1 = halves > 1 ? qgemm_load(w + 32) : w0;
        PCX_UNROLL for (int r = 0; r < mr; r++) {
            const __m256i a = qgemm_four(row[r] + at);
            sum[r][0] = _mm256_dpbusd_avx_epi32(sum[r][0], a, w0);
            PCX_KEEP(sum[r][0]);
            if (halves > 1) {
                sum[r][1] = _mm256_dpbusd_avx_epi32(sum[r][1], a, w1);
                PCX_KEEP(sum[r][1]);
            }
        }
    }
}

/* `count` whole tiles whose tail is plain or of a half, from `t` on: from registers to output rows i and so on. */
typedef void qgemm_avxvnni_sweep(qgemm_avxvnni_tile *t, size_t count, qgemm_target target);

#define SWEEP(halves, table, finish) \
    static PCX_NOINLINE void qgemm_avxvnni_sweep_##halves##_##table(qgemm_avxvnni_tile *t, size_t count, \
                                                                       qgemm_target to) \
    { \
        for (; count; count--, t->row += QGEMM_MR, to.i += QGEMM_MR, to.out += QGEMM_MR * to.ldo) { \
            __m256i sum[QGEMM_MR][2]; \
            qgemm_avxvnni_sums(QGEMM_MR, halves, table, t, sum); \
            finish(QGEMM_MR, sum, &to); \
        } \
    }
SWEEP(1, 0, qgemm_finish_half) SWEEP(1, 1, qgemm_finish_half) SWEEP(2, 0, qgemm_finish_sums) SWEEP(2, 1, qgemm_finish_sums)
#undef SWEEP

/* A tile of fewer rows, or with any other tail: its sums to memory. */
#define TILE(mr, table) \
    static PCX_NOINLINE void qgemm_avxvnni_tile_##mr##_##table(const qgemm_avxvnni_tile *t, int32_t to[][QGEMM_NR]) \
    { \
        __m256i sum[QGEMM_MR][2]; \
        qgemm_avxvnni_sums(mr, 2, table, t, sum); \
        PCX_UNROLL for (int r = 0; r < mr; r++) { \
            qgemm_store(to[r], sum[r][0]); \
            qgemm_store(to[r] + 8, sum[r][1]); \
        } \
    }
TILE(1, 0) TILE(2, 0) TILE(4, 0) TILE(6, 0) TILE(1, 1) TILE(2, 1) TILE(4, 1) TILE(6, 1)
#undef TILE

/* By the number of rows; rows beyond them may be summed, too. */
static void (*const qgemm_avxvnni_tiles[2][QGEMM_MR + 1])(const qgemm_avxvnni_tile *, int32_t[][QGEMM_NR]) = {
    { NULL, qgemm_avxvnni_tile_1_0, qgemm_avxvnni_tile_2_0, qgemm_avxvnni_tile_4_0, qgemm_avxvnni_tile_4_0,
      qgemm_avxvnni_tile_6_0, qgemm_avxvnni_tile_6_0 },
    { NULL, qgemm_avxvnni_tile_1_1, qgemm_avxvnni_tile_2_1, qgemm_avxvnni_tile_4_1, qgemm_avxvnni_tile_4_1,
      qgemm_avxvnni_tile_6_1, qgemm_avxvnni_tile_6_1 },
};
static qgemm_avxvnni_sweep *const qgemm_avxvnni_sweeps[2][2] = { /* [halves - 1][table] */
    { qgemm_avxvnni_sweep_1_0, qgemm_avxvnni_sweep_1_1 }, { qgemm_avxvnni_sweep_2_0, qgemm_avxvnni_sweep_2_1 }
};

static void qgemm_avxvnni_run(const qgemm_block *b, size_t panel, size_t count)
{
    (void)count; /* one: see `panels` below */
    const size_t j = panel * QGEMM_NR, cols = min_size(QGEMM_NR, b->n - j), ldo = b->ldo * b->tail->bytes;
    const int by_row = b->zero || b->row_sum;
    const qepilogue_avx2_columns tail = qepilogue_avx2_columns_make(b->tail, j, cols);
    _Alignas(64) int32_t start[QGEMM_MR][QGEMM_NR], sum[QGEMM_MR][QGEMM_NR] = { { 0 } };
    qgemm_columns c;
    qgemm_columns_make(b, j, cols, &c);
    qgemm_start_rows(b, 0, QGEMM_MR, &c, start);
    qgemm_avxvnni_tile t = { .steps = b->steps, .w = b->w + panel * b->steps * QGEMM_STEP,
                             .start = (const int32_t(*)[QGEMM_NR])start };
    uint8_t *out = (uint8_t *)b->out + b->i * ldo + j * b->tail->bytes;
    for (size_t r = 0, rows; r < b->rows; r += rows) {
        const int table = b->table && b->in_place[r / QGEMM_MR];
        const size_t alike = qgemm_whole_tiles(b, r, QGEMM_MR), whole = by_row ? min_size(alike, 1) : alike;
        t.row = b->row + r;
        t.offset = table ? b->table : NULL;
        if (by_row && r)
            qgemm_start_rows(b, r, QGEMM_MR, &c, start);
        if (whole && (tail.plain || tail.half || tail.narrow)) {
            rows = whole * QGEMM_MR;
            qgemm_avxvnni_sweeps[tail.plain][table](&t, whole, (qgemm_target){ &tail, b->i + r, ldo, out + r * ldo });
        } else {
            rows = min_size(QGEMM_MR, b->rows - r);
            qgemm_avxvnni_tiles[table][rows](&t, sum);
            qepilogue_avx2_rows(&tail, QGEMM_MR, b->i + r, rows, sum, out + r * ldo, ldo);
        }
    }
}

PCX_HIDDEN extern const qgemm_micro qgemm_micro_avxvnni;
const qgemm_micro qgemm_micro_avxvnni = { .mr = QGEMM_MR, .panels = 1, .run = qgemm_avxvnni_run };

PCX_TARGET_END
#endif
