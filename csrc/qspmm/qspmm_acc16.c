/* qspmm_acc16.c - see qspmm_acc16.h. */
#include "qspmm_acc16.h"

enum { RUN = 128, ITEMS = 2 * RUN }; /* windows are made of runs of so many blocks: bounds the work */

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
    uint32_t count, item[QSP_WIDEST];
} window;

static item item_make(const int8_t w[4], size_t index)
{
    item it = { .at = (uint32_t)(index * QSP_STEP), .w = qsp_word(w) };
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
static size_t items_make(const uint16_t *index, const int8_t *w, size_t b, size_t end, item *items)
{
    size_t count = 0;
    for (; b < end; b++) {
        const qsp_split s = qsp_split_block(w + 4 * b);
        for (int part = 0; part < 2; part++) {
            const int8_t *values = part ? s.rest : s.main;
            if (!qsp_word(values))
                continue;
            const item it = item_make(values, index[b]);
            size_t to = count++;
            for (; to && items[to - 1].key < it.key; to--)
                items[to] = items[to - 1];
            items[to] = it;
        }
    }
    return count;
}

/* Each item to the first window that has room. */
static size_t windows_make(const item *items, size_t count, window *windows)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t size = items[i].size + MARGIN;
        size_t to = 0;
        while (to < used && (windows[to].count == QSP_WIDEST || ((windows[to].size + size) & OVER)))
            to++;
        if (to == used)
            windows[used++] = (window){ .count = 0 };
        windows[to].size += items[i].size;
        windows[to].item[windows[to].count++] = (uint32_t)i;
    }
    return used;
}

/* By their width and their number of windows: how many runs there are, then the word where the next one goes. */
typedef struct {
    size_t of[QSP_WIDEST + 1][ITEMS + 1];
} places;

/* The run of width `width` of `used` windows to `to`. */
static void run_put(const item *items, const window *windows, size_t used, size_t width, size_t row, uint32_t *to)
{
    uint32_t *const count = to;
    *to++ = 0;
    *to++ = (uint32_t)(row * QSP_STEP);
    for (size_t x = 0; x < used; x++)
        for (size_t y = 0; windows[x].count == width && y < width; y++) {
            *to++ = items[windows[x].item[y]].at;
            *to++ = items[windows[x].item[y]].w;
            *count += !y;
        }
}

/* Counts the runs of outputs [j, end), or puts them to their places within `words`. */
static void group_make(size_t j, size_t end, const int32_t *rows, const uint16_t *index, const int8_t *w,
                       uint32_t *words, places *p)
{
    item items[ITEMS];
    window windows[ITEMS];
    for (size_t r = j; r < end; r++) {
        size_t b = (size_t)rows[r], stop = (size_t)max_size(b, (size_t)rows[r + 1]), next;
        for (; b < stop; b = next) {
            size_t counts[QSP_WIDEST + 1] = { 0 };
            next = min_size(b + RUN, stop);
            const size_t used = windows_make(items, items_make(index, w, b, next, items), windows);
            for (size_t x = 0; x < used; x++)
                counts[windows[x].count]++;
            for (size_t width = 1; width <= QSP_WIDEST; width++) {
                size_t *at = &p->of[width][counts[width]];
                if (counts[width] && words)
                    run_put(items, windows, used, width, r - j, words + *at);
                if (counts[width])
                    *at += words ? 2 + 2 * width * counts[width] : 1;
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

static int within(size_t n, size_t blocks, const int32_t *rows)
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
    all->usable = (size_t)within(n, blocks, rows);
    for (size_t g = 0; all->usable && g < groups; g++) {
        const size_t j = g * QSP_NR, end = min_size(j + QSP_NR, n);
        all->first[g] = (size_t)(to - words);
        memset(&p, 0, sizeof p);
        group_make(j, end, rows, index, w, NULL, &p);
        size_t at = QSP_COUNTS;
        for (size_t width = QSP_WIDEST; width; width--) {
            size_t runs = 0;
            for (size_t count = ITEMS; count; count--) {
                const size_t these = p.of[width][count];
                p.of[width][count] = at;
                at += these * (2 + 2 * width * count);
                runs += these;
            }
            to[QSP_WIDEST - width] = (uint32_t)runs;
        }
        group_make(j, end, rows, index, w, to, &p);
        to += at;
    }
}
