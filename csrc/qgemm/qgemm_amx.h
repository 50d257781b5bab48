/*
 * qgemm_amx.h - what surrounds AMX's products: the scratch, tiles of rows, where sums start, and sums that become outputs
 * between the products of the tiles after them.
 */
#ifndef PCX_QGEMM_AMX_H
#define PCX_QGEMM_AMX_H

#include "../common/amx.h"
#include "../common/qepilogue_avx512.h"
#include "qgemm_start_avx512.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,amx-tile,amx-int8")

enum { QGEMM_AMX_PANELS = 4, QGEMM_AMX_SUMS = 4 * AMX_ROWS * QGEMM_NR }; /* of four tiles */

/* Sums on their way to outputs: rows [r, rows) are still to be done. */
typedef struct {
    qepilogue_avx512_columns tail;
    size_t i, r, rows; /* row 0 is i of the output */
    size_t lds, ldo;   /* sums, and bytes of the output, from row to row */
    const int32_t *sum;
    uint8_t *out;
} qgemm_amx_output;

/* The scratch. */
typedef struct {
    amx_tiles tiles;
    _Alignas(64) int32_t start[4 * AMX_ROWS][QGEMM_NR]; /* where sums start: [row][panel], or [panel] */
    int32_t sum[2][QGEMM_AMX_SUMS];                     /* [row][panel], of the tiles before and of these */
    uint8_t staged[2][AMX_ROWS][AMX_ROW_BYTES];
    amx_chunks chunks;
    qgemm_amx_output output[2]; /* of the pair of panels before, whose last sums may still be there, and of this one */
    size_t pair, block;         /* pairs of panels and blocks of their sums so far: the last bits are the indices */
    size_t count;     /* chunks of a row */
    ptrdiff_t at[][2]; /* [count]: where each begins in a row that stands alone, and by the block's table */
} qgemm_amx_space;

static size_t qgemm_amx_scratch(size_t steps) { return sizeof(qgemm_amx_space) + steps * sizeof(ptrdiff_t[2]); }

static void qgemm_amx_enter(const qgemm_block *b)
{
    qgemm_amx_space *s = (qgemm_amx_space *)(void *)b->scratch;
    amx_enter(&s->tiles);
    s->output[0] = (qgemm_amx_output){ 0 }; /* no pointers of the call that had this scratch before */
    s->pair = s->block = 0;
    s->chunks = amx_chunks_make(b->together);
    s->count = 0;
    for (size_t first = 0; first < b->steps; first += b->together)
        for (size_t step = first; step < first + b->together; step += s->chunks.steps) {
            s->at[s->count][0] = (ptrdiff_t)(4 * step);
            s->at[s->count++][1] = b->table ? b->table[step] : 0;
        }
}

/* All of k in one tile: the weights' tiles stay. */
static int qgemm_amx_stays(size_t chunks) { return chunks == 1; }

static size_t qgemm_amx_group(size_t steps) { return steps && steps <= AMX_STEPS ? QGEMM_AMX_PANELS : 2; }

/* The block's rows in tiles: those of the table, or any. */
static amx_split qgemm_amx_split(const qgemm_block *b, size_t together)
{
    const size_t count = ceil_div(b->rows, b->mr);
    return b->table ? (amx_split){ b->mr, (count - 1) * b->mr, count } : amx_split_make(b->rows, together);
}

/* A tile's rows of `a`. */
typedef struct {
    const uint8_t *const *row;
    size_t rows;
    ptrdiff_t stride;   /* from row to row, if all are as far apart */
    int even, in_place; /* are they; where the block's table says */
} qgemm_amx_tile;

/* Written field by field: a copy of the whole would wait for the tiles that are being stored. */
PCX_INLINE void qgemm_amx_tile_make(const qgemm_block *b, size_t r, size_t rows, qgemm_amx_tile *t)
{
    const uint8_t *const *row = b->row + r;
    const ptrdiff_t stride = rows > 1 ? (ptrdiff_t)((uintptr_t)row[1] - (uintptr_t)row[0]) : 0;
    t->row = row;
    t->rows = rows;
    t->stride = stride;
    t->even = 1;
    t->in_place = b->table && b->in_place[r / b->mr];
    for (size_t x = r + rows <= b->even ? rows : 1; x < rows; x += 8) {
        const __mmask8 some = (__mmask8)(0xff >> (8 - min_size(8, rows - x)));
        const __m512i before = _mm512_maskz_loadu_epi64(some, row + x - 1);
        const __m512i apart = _mm512_sub_epi64(_mm512_maskz_loadu_epi64(some, row + x), before);
        t->even &= !_mm512_mask_cmpneq_epi64_mask(some, apart, _mm512_set1_epi64(stride));
    }
}

/* Of chunk i the first row, and where the next one is: where they stand or, if not even, in a copy. */
PCX_INLINE const uint8_t *qgemm_amx_rows(const qgemm_amx_tile *t, const ptrdiff_t at[2], size_t steps,
                                         uint8_t staged[][AMX_ROW_BYTES], ptrdiff_t *stride)
{
    const ptrdiff_t from = at[t->in_place];
    *stride = t->stride;
    if (PCX_LIKELY(t->even))
        return t->row[0] + from;
    const __mmask16 some = (__mmask16)((1u << steps) - 1);
    for (size_t x = 0; x < t->rows; x++)
        _mm512_storeu_si512(staged[x], _mm512_maskz_loadu_epi32(some, t->row[x] + from));
    *stride = AMX_ROW_BYTES;
    return staged[0];
}

/* The same in pieces, between products: what a function keeps in registers. */
typedef struct {
    qepilogue_avx512_piece piece;
    size_t rows, ldo;
    const int32_t *sum;
    uint8_t *out;
} qgemm_amx_pieces;

PCX_INLINE qgemm_amx_pieces qgemm_amx_pieces_make(const qgemm_amx_output *o)
{
    return (qgemm_amx_pieces){ qepilogue_avx512_piece_make(&o->tail, o->ldo), o->rows, o->ldo, o->sum, o->out };
}

/* Those of another tile. */
PCX_INLINE void qgemm_amx_pieces_next(qgemm_amx_pieces *p, const qgemm_amx_output *o)
{
    p->rows = o->rows;
    p->sum = o->sum;
    p->out = o->out;
}

/* The next `count` vectors of `per` rows. */
PCX_INLINE void qgemm_amx_put(qgemm_amx_pieces *p, const int per, size_t count)
{
    for (; count && p->rows >= (size_t)per; count--) {
        qepilogue_avx512_piece_put(&p->piece, per, p->sum, p->out, p->ldo);
        p->rows -= (size_t)per;
        p->sum += 4 * QGEMM_NR;
        p->out += (size_t)per * p->ldo;
    }
}

/* The next `count` rows, a multiple of `per`, if there are so many. */
PCX_INLINE void qgemm_amx_finish(qgemm_amx_output *o, size_t count)
{
    const size_t r = o->r;
    if (r == o->rows)
        return;
    count = min_size(count, o->rows - r);
    o->r += count;
    qepilogue_avx512_rows(&o->tail, o->i + r, count, o->sum + r * o->lds, o->lds, o->out + r * o->ldo, o->ldo);
}

static void qgemm_amx_leave(const qgemm_block *b)
{
    qgemm_amx_space *s = (qgemm_amx_space *)(void *)b->scratch;
    qgemm_amx_finish(&s->output[s->pair % 2], 2 * AMX_ROWS);
    amx_leave(&s->tiles);
}

/* What a group of panels needs for all its tiles. */
typedef struct {
    const qgemm_block *b;
    qgemm_amx_space *space;
    const int8_t *w;
    size_t panel; /* bytes of a panel of w */
    size_t panels;
    ptrdiff_t by_row; /* from a row's starts to the next one's, in bytes; 0: all rows start alike */
    qgemm_avx512_columns columns[QGEMM_AMX_PANELS];
    qgemm_amx_output *output;
} qgemm_amx_work;

static void qgemm_amx_work_make(const qgemm_block *b, size_t panel, size_t panels, qgemm_amx_output *output,
                                qgemm_amx_work *k)
{
    k->b = b;
    k->space = (qgemm_amx_space *)(void *)b->scratch;
    k->panel = b->steps * QGEMM_STEP;
    k->w = b->w + panel * k->panel;
    k->panels = panels;
    k->by_row = b->zero || b->row_sum ? (ptrdiff_t)(panels * sizeof k->space->start[0]) : 0;
    const size_t first = panel * QGEMM_NR, all = min_size(panels * QGEMM_NR, b->n - first);
    k->output = output;
    *output = (qgemm_amx_output){ .tail = qepilogue_avx512_columns_make(b->tail, first, all, 1),
                                  .lds = panels * QGEMM_NR, .ldo = b->ldo * b->tail->bytes };
    for (size_t p = 0; p < panels; p++) {
        const size_t j = first + p * QGEMM_NR;
        k->columns[p] = qgemm_avx512_columns_make(b, j, min_size(QGEMM_NR, b->n - j));
    }
    qgemm_avx512_start(b, 0, 1, k->columns, panels, k->space->start);
}

/* Before the tiles of rows [r, r + rows): where their sums start. */
static void qgemm_amx_start(qgemm_amx_work *k, size_t r, size_t rows)
{
    if (k->by_row)
        qgemm_avx512_start(k->b, r, rows, k->columns, k->panels, k->space->start);
}

/* After them: their sums are next. */
static void qgemm_amx_next(qgemm_amx_work *k, size_t r, size_t rows, const int32_t *sum)
{
    const qgemm_block *b = k->b;
    qgemm_amx_output *o = k->output;
    o->out = (uint8_t *)b->out + ((b->i + r) * b->ldo + o->tail.j) * b->tail->bytes;
    o->i = b->i + r;
    o->r = 0;
    o->rows = rows;
    o->sum = sum;
}

PCX_TARGET_END
#endif
#endif
