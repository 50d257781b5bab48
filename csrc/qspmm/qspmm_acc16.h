/*
 * qspmm_acc16.h - int16 accumulation: which blocks of an output may be added up in int16 lanes.
 *
 * A block leaves two int16 lanes per pixel, each the sum of two products with u8.  Let P and N be the sums of a
 * lane's positive and of its negated negative weights.  Blocks whose total P and total N are at most 128, lane by
 * lane, can form a chunk: vpmaddubsw does not saturate, and all partial sums are within 255 * 128 = 32640.
 * Since a sum may be computed in any order, chunks are formed from any blocks of one output, largest first.  A block
 * that exceeds the bounds on its own is split in two: w = main + rest.
 */
#ifndef PCX_QSPMM_ACC16_H
#define PCX_QSPMM_ACC16_H

#include "../common/pcx.h"

enum {
    QSP_NR = 32,    /* outputs of a group */
    QSP_DEEPEST = 8, /* blocks of a chunk, at most */
    QSP_STEP = 32,  /* a block's place in a panel of one vector, and that of a row in its sums: bytes */
};

/*
 * A group's chunks as words.  Chunks of one row and depth are contiguous, a run, so that its int32 sums are loaded
 * and stored only once; runs of one depth are contiguous, the longest first, so that branches are predictable.
 *   how many runs there are of chunks of 8, 7, ... 1 blocks;
 *   for each, how many chunks it has, its row within the group times QSP_STEP, and for each of their blocks
 *   index * QSP_STEP and the four weights.
 */
enum { QSP_COUNTS = QSP_DEEPEST };

/* Of all groups; `words` is as long as it needs to be. */
typedef struct {
    size_t usable;       /* 0: rows name more blocks than there are */
    const uint32_t *words;
    size_t first[];      /* [groups] */
} qspmm_acc16;

/* A block within the bounds, and the rest of it, usually 0; four int8 each. */
typedef struct {
    int8_t main[4], rest[4];
} qspmm_split_weights;

static inline qspmm_split_weights qspmm_split_block(const int8_t w[4])
{
    qspmm_split_weights s = { .rest = { 0 } };
    memcpy(s.main, w, sizeof s.main);
    for (int x = 0; x < 4; x += 2) { /* weights of different signs are within the bound; else the larger one is reduced */
        const int sum = w[x] + w[x + 1], over = sum > 128 ? sum - 128 : sum < -128 ? sum + 128 : 0;
        const int at = (w[x + 1] > w[x]) == (over > 0) ? x + 1 : x;
        s.rest[at] = (int8_t)over;
        s.main[at] = (int8_t)(w[at] - over);
    }
    return s;
}

static inline uint32_t qspmm_word(const int8_t w[4])
{
    uint32_t word;
    memcpy(&word, w, sizeof word);
    return word;
}

/* Bytes for the chunks of so many outputs and blocks, whatever the weights; those not needed stay untouched. */
PCX_HIDDEN size_t qspmm_acc16_bytes(size_t n, size_t blocks);
PCX_HIDDEN void qspmm_acc16_make(size_t n, size_t blocks, const int32_t *rows, const uint16_t *index, const int8_t *w,
                                 void *to);

#endif
