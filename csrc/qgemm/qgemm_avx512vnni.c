/*
 * qgemm_avx512vnni.c - tiles of up to four panels on 512-bit VNNI: vpdpbusd adds four products of u8 and i8 to an int32
 * without saturation, so the weights serve as they are stored.  Up to 28 sums, the panels' weights and a broadcast fill
 * the 32 registers; the broadcast is an instruction of its own, since vpdpbusd's embedded one is the signed operand.
 *
 * Rows that lie equally far apart are cut to tiles as equal as can be; there is a function for each number of rows and
 * panels.  Sums go through memory to the epilogue, so that those functions need not contain it.
 *
 * Sums are int32, exact for k <= 65536 as 255 * 128 * 65536 < 2^31; with zero points and bias they are modulo 2^32.
 */
#include "../common/qepilogue_avx512.h"
#include "qgemm.h"
#include "qgemm_few_avx512.h"
#include "qgemm_start_avx512.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")

enum { QGEMM_V_MR = 6, QGEMM_V_PANELS = 4 }; /* rows that are all read one way; panels of a tile */
enum { QGEMM_V_ROWS = 24, QGEMM_V_SUMS = 28, QGEMM_V_WAITING = 96 }; /* of a tile, at most; for the epilogue */

/* A tile's operands. */
typedef struct {
    const uint8_t *row; /* the first; others are lda apart */
    ptrdiff_t lda;
    const void *offset; /* step s of a row is at the ptrdiff_t that stands by_table * s bytes on, + by_step * s */
    size_t by_table, by_step;
    size_t steps;
    const int8_t *w; /* of the first panel; others are w_panel apart */
    size_t w_panel;
    const int32_t *start; /* where the panels' sums start, those of rows start_row apart */
    size_t start_row;
} qgemm_avx512vnni_tile;

/* Sums of mr rows with np panels. */
PCX_INLINE void qgemm_avx512vnni_sums(const int np, const int mr, const qgemm_avx512vnni_tile *t,
                                      __m512i sum[QGEMM_V_ROWS][QGEMM_V_PANELS])
{
    const size_t by_table = t->by_table, by_step = t->by_step, w_panel = t->w_panel;
    const ptrdiff_t lda = t->lda;
    const char *offset = t->offset;
    const uint8_t *row = t->row;
    const int8_t *w = t->w;
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int p = 0; p < np; p++)
            sum[r][p] = _mm512_load_si512(t->start + (size_t)r * t->start_row + p * QGEMM_NR);
    for (size_t s = t->steps; s; s--, w += QGEMM_STEP, offset += by_table, row += by_step) {
        ptrdiff_t at;
        memcpy(&at, offset, sizeof at);
        const uint8_t *a = row + at;
        __m512i b[QGEMM_V_PANELS];
        PCX_UNROLL for (int p = 0; p < np; p++)
            b[p] = _mm512_loadu_si512(w + (size_t)p * w_panel);
        PCX_UNROLL for (int r = 0; r < mr; r++) { /* rows at a + {0, 1, 2} lda: that takes few registers */
            int32_t four;
            memcpy(&four, a + r % 3 * lda, sizeof four);
            const __m512i x = _mm512_set1_epi32(four);
            PCX_UNROLL for (int p = 0; p < np; p++)
                PCX_DPBUSD(sum[r][p], x, b[p]);
            if (r % 3 == 2 && r + 1 < mr) {
                a += 3 * lda;
                PCX_OPAQUE(a);
            }
        }
    }
}

/* The same to memory: to[mr][np][16]. */
PCX_INLINE void qgemm_avx512vnni_store(const int np, const int mr, const qgemm_avx512vnni_tile *t, int32_t *to)
{
    __m512i sum[QGEMM_V_ROWS][QGEMM_V_PANELS];
    qgemm_avx512vnni_sums(np, mr, t, sum);
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int p = 0; p < np; p++)
            _mm512_store_si512(to + (r * np + p) * QGEMM_NR, sum[r][p]);
}

/* The same to bytes that neither a table nor a residual changes. */
PCX_INLINE void qgemm_avx512vnni_put(const int np, const int mr, const qgemm_avx512vnni_tile *t,
                                     const qepilogue_avx512_piece *piece, uint8_t *out, size_t ldo)
{
    const int per = np > 2 ? 1 : 4 / np;
    __m512i sum[QGEMM_V_ROWS][QGEMM_V_PANELS];
    qgemm_avx512vnni_sums(np, mr, t, sum);
    const qepilogue_avx512_piece p = *piece;
    PCX_UNROLL for (int r = 0; r < mr; r += per, out += (size_t)per * ldo) {
        const __m512i *const row = sum[r];
        const __m512i acc[4] = { row[0], np > 1 ? row[1] : sum[r + 1][0],
                                 np > 2 ? row[2] : sum[r + (np > 1 ? 1 : 2)][0],
                                 np > 2 ? row[np - 1] : np > 1 ? sum[r + 1][1] : sum[r + 3][0] };
        qepilogue_avx512_piece_store(&p, per, (size_t)per, qepilogue_avx512_sums(&p.to, acc), out, ldo);
    }
}

#define TILE(np, mr) \
    static PCX_NOINLINE void qgemm_avx512vnni_##np##_##mr(const qgemm_avx512vnni_tile *t, int32_t *to) \
    { \
        qgemm_avx512vnni_store(np, mr, t, to); \
    }
#define NAME(np, mr) [np][mr] = qgemm_avx512vnni_##np##_##mr,
#define ALL(X) \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(1, 5) X(1, 6) X(1, 7) X(1, 8) X(1, 9) X(1, 10) X(1, 11) X(1, 12) \
    X(1, 13) X(1, 14) X(1, 15) X(1, 16) X(1, 17) X(1, 18) X(1, 19) X(1, 20) X(1, 21) X(1, 22) X(1, 23) X(1, 24) \
    X(2, 1) X(2, 2) X(2, 3) X(2, 4) X(2, 5) X(2, 6) X(2, 7) X(2, 8) X(2, 9) X(2, 10) X(2, 11) X(2, 12) \
    X(2, 13) X(2, 14) \
    X(3, 1) X(3, 2) X(3, 3) X(3, 4) X(3, 5) X(3, 6) X(3, 7) X(3, 8) X(3, 9) \
    X(4, 1) X(4, 2) X(4, 3) X(4, 4) X(4, 5) X(4, 6)
ALL(TILE)
static void (*const qgemm_avx512vnni_tiles[QGEMM_V_PANELS + 1][QGEMM_V_ROWS + 1])(const qgemm_avx512vnni_tile *t,
                                                                                int32_t *to) = { ALL(NAME) };
#undef TILE
#undef NAME
#undef ALL

/* Tiles whose rows are whole vectors of bytes, of the sizes that are used most. */
#define TILE(np, mr) \
    static PCX_NOINLINE void qgemm_avx512vnni_put_##np##_##mr(const qgemm_avx512vnni_tile *t, \
                                                              const qepilogue_avx512_piece *p, uint8_t *out, size_t ldo) \
    { \
        qgemm_avx512vnni_put(np, mr, t, p, out, ldo); \
    }
#define NAME(np, mr) [np][mr] = qgemm_avx512vnni_put_##np##_##mr,
#define MOST(X) X(1, 24) X(2, 12) X(2, 14) X(3, 8) X(3, 9) X(4, 5) X(4, 6)
MOST(TILE)
static void (*const qgemm_avx512vnni_puts[QGEMM_V_PANELS + 1][QGEMM_V_ROWS + 1])(
    const qgemm_avx512vnni_tile *t, const qepilogue_avx512_piece *p, uint8_t *out, size_t ldo) = { MOST(NAME) };
#undef TILE
#undef NAME
#undef MOST

/* How many rows of the block from r on are read the same way and lie equally far apart: they go to t. */
static size_t qgemm_avx512vnni_alike(const qgemm_block *b, size_t r, qgemm_avx512vnni_tile *t)
{
    static const ptrdiff_t none = 0;
    const int table = b->table && b->in_place[r / QGEMM_V_MR];
    size_t end = b->rows;
    if (b->table) {
        const unsigned char *at = b->in_place + r / QGEMM_V_MR;
        for (end = (r / QGEMM_V_MR + 1) * QGEMM_V_MR; end < b->rows && at[0] == at[1]; at++)
            end += QGEMM_V_MR;
        end = min_size(end, b->rows);
    }
    t->row = b->row[r];
    t->offset = table ? (const void *)b->table : &none;
    t->by_table = table ? sizeof none : 0;
    t->by_step = table ? 0 : 4;
    t->lda = end - r > 1 ? (ptrdiff_t)((uintptr_t)b->row[r + 1] - (uintptr_t)b->row[r]) : 0;
    for (size_t x = r + 2; x < end; x += 8) {
        const __mmask8 some = (__mmask8)(0xff >> (8 - min_size(8, end - x)));
        const __m512i here = _mm512_maskz_loadu_epi64(some, b->row + x);
        const __m512i before = _mm512_maskz_loadu_epi64(some, b->row + x - 1);
        unsigned off = _mm512_mask_cmpneq_epi64_mask(some, _mm512_sub_epi64(here, before), _mm512_set1_epi64(t->lda));
        for (; off; off >>= 1, x++)
            if (off & 1)
                return x - r;
    }
    return end - r;
}

static void qgemm_avx512vnni_block(const qgemm_block *b, size_t panel, size_t count, int vbmi)
{
    static const unsigned char max_rows[] = { 0, QGEMM_V_ROWS, 14, 9, 6 }; /* of a tile, by panels */
    const size_t j = panel * QGEMM_NR, cols = min_size(count * QGEMM_NR, b->n - j), ldo = b->ldo * b->tail->bytes;
    const qepilogue_avx512_columns tail = qepilogue_avx512_columns_make(b->tail, j, cols, vbmi);
    const qepilogue_avx512_piece piece = qepilogue_avx512_piece_make(&tail, ldo);
    const int direct = qepilogue_avx512_in_pieces(&tail) && !piece.lut, by_row = b->zero || b->row_sum;
    _Alignas(64) int32_t start[QGEMM_V_SUMS][QGEMM_NR], sum[QGEMM_V_WAITING * QGEMM_NR];
    size_t waiting = 0; /* rows of sums */
    qgemm_avx512_columns c[QGEMM_V_PANELS];
    for (size_t p = 0; p < count; p++)
        c[p] = qgemm_avx512_columns_make(b, j + p * QGEMM_NR, min_size(QGEMM_NR, cols - p * QGEMM_NR));
    qgemm_avx512_start(b, 0, 1, c, count, start);
    uint8_t *out = (uint8_t *)b->out + b->i * ldo + j * b->tail->bytes;
    qgemm_avx512vnni_tile t = { .steps = b->steps, .w = b->w + panel * b->steps * QGEMM_STEP,
                                .w_panel = b->steps * QGEMM_STEP, .start = start[0],
                                .start_row = by_row ? count * QGEMM_NR : 0 };
    for (size_t r = 0, end; r < b->rows;)
        for (end = r + qgemm_avx512vnni_alike(b, r, &t); r < end;) {
            const size_t rows = ceil_div(end - r, ceil_div(end - r, max_rows[count])); /* as equal as can be */
            if (by_row)
                qgemm_avx512_start(b, r, rows, c, count, start);
            const int now = direct && qgemm_avx512vnni_puts[count][rows];
            if (now)
                qgemm_avx512vnni_puts[count][rows](&t, &piece, out + r * ldo, ldo);
            else
                qgemm_avx512vnni_tiles[count][rows](&t, sum + waiting * count * QGEMM_NR);
            waiting += now ? 0 : rows;
            t.row += (ptrdiff_t)rows * t.lda;
            r += rows;
            if (waiting && (now || waiting + max_rows[count] > QGEMM_V_WAITING / count || r == b->rows)) {
                const size_t first = r - waiting - (now ? rows : 0);
                qepilogue_avx512_rows(&tail, b->i + first, waiting, sum, count * QGEMM_NR, out + first * ldo, ldo);
                waiting = 0;
            }
        }
}

PCX_INLINE void qgemm_avx512vnni_any(const qgemm_block *b, size_t panel, size_t count, int vbmi)
{
    const qgemm_few *few = (const qgemm_few *)b->scratch;
    if (few->runs && b->rows >= QGEMM_FEW_ROWS)
        qgemm_few_rows(b, few, vbmi);
    else
        qgemm_avx512vnni_block(b, panel, count, vbmi);
}

static void qgemm_avx512vnni_run(const qgemm_block *b, size_t panel, size_t count)
{
    qgemm_avx512vnni_any(b, panel, count, 0);
}

static void qgemm_avx512vnni_run_vbmi(const qgemm_block *b, size_t panel, size_t count)
{
    qgemm_avx512vnni_any(b, panel, count, 1);
}

static size_t qgemm_avx512vnni_scratch(size_t steps)
{
    (void)steps;
    return sizeof(qgemm_few);
}

static void qgemm_avx512vnni_enter(const qgemm_block *b) { qgemm_few_make(b, (qgemm_few *)b->scratch); }

PCX_HIDDEN extern const qgemm_micro qgemm_micro_avx512vnni, qgemm_micro_avx512vbmi;
#define MICRO(run_) \
    { .mr = QGEMM_V_MR, .panels = QGEMM_V_PANELS, .scratch = qgemm_avx512vnni_scratch, .run = run_, \
      .enter = qgemm_avx512vnni_enter }
const qgemm_micro qgemm_micro_avx512vnni = MICRO(qgemm_avx512vnni_run);
const qgemm_micro qgemm_micro_avx512vbmi = MICRO(qgemm_avx512vnni_run_vbmi);
#undef MICRO

PCX_TARGET_END
#endif
