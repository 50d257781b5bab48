/* qspmm_acc16.c - see qspmm_acc16.h. */
#include "qspmm_acc16.h"

enum { RUN = 128, ITEMS = 2 * RUN }; /* chunks are formed within runs of so many blocks, which bounds the work */

/* Four lanes of 16 bits, P and N of the two lanes; lanes of a sum are at most 128 if it has none of OVER. */
#define EACH 0x0001000100010001u
#define OVER (EACH << 15)
#define MARGIN (EACH * (32767 - 128))

typedef struct {
    uint64_t size;
    uint32_t key, at, w;
} item;

typedef struct {
    uint64_t size;
    uint32_t count, item[QSP_DEEPEST];
} chunk;

static item qspmm_acc16_item_make(const int8_t w[4], size_t index)
{
    item it = { .at = (uint32_t)(index * QSP_STEP), .w = qspmm_word(w) };
    for (int x = 0; x < 4; x++) {
        const unsigned size = (unsigned)(w[x] < 0 ? -w[x] : w[x]);
        it.size += (uint64_t)size << (16 * (x / 2 * 2 + (w[x] < 0)));
    }
    for (int x = 0; x < 64; x += 16) {
        const uint32_t size = it.size >> x & 0xffff;
        it.key += size * size;
    }
    return it;
}

/* Blocks [b, end) as items, largest first, equal ones as they come. */
static size_t qspmm_acc16_items_make(const uint16_t *index, const int8_t *w, size_t b, size_t end, item *items)
{
    size_t count = 0;
    for (; b < end; b++) {
        const qspmm_split_weights s = qspmm_split_block(w + 4 * b);
        for (int part = 0; part < 2; part++) {
            const int8_t *values = part ? s.rest : s.main;
            if (!qspmm_word(values))
                continue;
            const item it = qspmm_acc16_item_make(values, index[b]);
            size_t to = count++;
            for (; to && items[to - 1].key < it.key; to--)
                items[to] = items[to - 1];
            items[to] = it;
        }
    }
    return count;
}

/* Puts each item into the first chunk that has space. */
static size_t qspmm_acc16_chunks_make(const item *items, size_t count, chunk *chunks)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t size = items[i].size + MARGIN;
        size_t to = 0;
        while (to < used && (chunks[to].count == QSP_DEEPEST || ((chunks[to].size + size) & OVER)))
            to++;
        if (to == used)
            chunks[used++] = (chunk){ .count = 0 };
        chunks[to].size += items[i].size;
        chunks[to].item[chunks[to].count++] = (uint32_t)i;
    }
    return used;
}

/* By their depth and their number of chunks: how many runs there are, then the word where the next one goes. */
typedef struct {
    size_t of[QSP_DEEPEST + 1][ITEMS + 1];
} places;

/* The run of depth `depth` of `used` chunks to `to`. */
static void qspmm_acc16_run_put(const item *items, const chunk *chunks, size_t used, size_t depth, size_t row,
                                uint32_t *to)
{
    uint32_t *const count = to;
    *to++ = 0;
    *to++ = (uint32_t)(row * QSP_STEP);
    for (size_t x = 0; x < used; x++)
        for (size_t y = 0; chunks[x].count == depth && y < depth; y++) {
            *to++ = items[chunks[x].item[y]].at;
            *to++ = items[chunks[x].item[y]].w;
            *count += !y;
        }
}

/* Counts the runs of outputs [j, end), or puts them to their places within `words`. */
static void qspmm_acc16_group_make(size_t j, size_t end, const int32_t *rows, const uint16_t *index, const int8_t *w,
                                   uint32_t *words, places *p)
{
    item items[ITEMS];
    chunk chunks[ITEMS];
    for (size_t r = j; r < end; r++) {
        size_t b = (size_t)rows[r], stop = (size_t)max_size(b, (size_t)rows[r + 1]), next;
        for (; b < stop; b = next) {
            size_t counts[QSP_DEEPEST + 1] = { 0 };
            next = min_size(b + RUN, stop);
            const size_t used =
                qspmm_acc16_chunks_make(items, qspmm_acc16_items_make(index, w, b, next, items), chunks);
            for (size_t x = 0; x < used; x++)
                counts[chunks[x].count]++;
            for (size_t depth = 1; depth <= QSP_DEEPEST; depth++) {
                size_t *at = &p->of[depth][counts[depth]];
                if (counts[depth] && words)
                    qspmm_acc16_run_put(items, chunks, used, depth, r - j, words + *at);
                if (counts[depth])
                    *at += words ? 2 + 2 * depth * counts[depth] : 1;
            }
        }
    }
}

/* A block is at most two items, each at worst a run of four words. */
size_t qspmm_acc16_bytes(size_t n, size_t blocks)
{
    const size_t groups = ceil_div(n, QSP_NR);
    return sizeof(qspmm_acc16) + groups * sizeof(size_t) + (groups * QSP_COUNTS + blocks * 8) * sizeof(uint32_t);
}

static int qspmm_acc16_within(size_t n, size_t blocks, const int32_t *rows)
{
    size_t named = 0;
    for (size_t r = 0; r < n; r++)
        named += rows[r + 1] > rows[r] ? (size_t)(rows[r + 1] - rows[r]) : 0;
    return named <= blocks;
}

void qspmm_acc16_make(size_t n, size_t blocks, const int32_t *rows, const uint16_t *index, const int8_t *w, void *made)
{
    qspmm_acc16 *all = made;
    const size_t groups = ceil_div(n, QSP_NR);
    uint32_t *const words = (uint32_t *)(all->first + groups), *to = words;
    places p;
    all->words = words;
    all->usable = (size_t)qspmm_acc16_within(n, blocks, rows);
    for (size_t g = 0; all->usable && g < groups; g++) {
        const size_t j = g * QSP_NR, end = min_size(j + QSP_NR, n);
        all->first[g] = (size_t)(to - words);
        memset(&p, 0, sizeof p);
        qspmm_acc16_group_make(j, end, rows, index, w, NULL, &p);
        size_t at = QSP_COUNTS;
        for (size_t depth = QSP_DEEPEST; depth; depth--) {
            size_t runs = 0;
            for (size_t count = ITEMS; count; count--) {
                const size_t these = p.of[depth][count];
                p.of[depth][count] = at;
                at += these * (2 + 2 * depth * count);
                runs += these;
            }
            to[QSP_DEEPEST - depth] = (uint32_t)runs;
        }
        qspmm_acc16_group_make(j, end, rows, index, w, to, &p);
        to += at;
    }
}
