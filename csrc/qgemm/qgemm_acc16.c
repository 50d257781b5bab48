/* qgemm_acc16.c - see qgemm_acc16.h. */
#include "qgemm_acc16.h"

#if PCX_X86
PCX_TARGET("avx2")

enum { LANES = 2 * QGEMM_NR, PAIR = 128, WINDOW = 256, WIDEST = 8 };

/* Tenths of cycles that a step of a tile costs by its window, on the widened path, and if it is of a rest. */
static const size_t cost[WIDEST + 1] = { 236, 132, 118, 0, 94, 0, 0, 0, 85 };
enum { REST_COST = 100, REST_CALL = 300 };

static size_t starts(size_t steps) { return ceil_div(steps, 2) * LANES * sizeof(int16_t); }

size_t qgemm_acc16_bytes(size_t panels, size_t steps)
{
    const size_t rest = qgemm_acc16_rest(steps);
    const size_t each = starts(steps) + steps * QGEMM_STEP + starts(rest) + rest * QGEMM_STEP + round_up(rest * 4, 64);
    return panels * (sizeof(qgemm_acc16) + each);
}

/* Steps of one window that are being split; rest starts as zeros. */
typedef struct {
    size_t count;
    int8_t main[WIDEST * QGEMM_STEP], rest[WIDEST * QGEMM_STEP];
    int marked[WIDEST]; /* has a rest */
} window;

static int size_of(int x) { return x < 0 ? -x : x; }

/* Move up to `most` of the weight at `at` into the rest, whose pair stays a pair; how much was moved. */
static int move(window *v, size_t at, int most)
{
    const int x = v->main[at], other = v->rest[at ^ 1], same = (x < 0) == (other < 0) ? size_of(other) : 0;
    int amount = size_of(x) < most ? size_of(x) : most;
    const int room = PAIR - same - size_of(v->rest[at]);
    amount = amount < room ? amount : room;
    if (x > 0 && amount > 127 - v->rest[at])
        amount = 127 - v->rest[at];
    if (amount <= 0)
        return 0;
    v->main[at] = (int8_t)(x < 0 ? x + amount : x - amount);
    v->rest[at] = (int8_t)(x < 0 ? v->rest[at] - amount : v->rest[at] + amount);
    v->marked[at / QGEMM_STEP] = 1;
    return amount;
}

/* Both weights of different sign never break a pair; of the same, the larger one gives way: it is enough. */
static void split_pairs(window *v)
{
    for (size_t at = 0; at < v->count * QGEMM_STEP; at += 2) {
        const int x = v->main[at], y = v->main[at + 1], over = size_of(x + y) - PAIR;
        if (over > 0)
            move(v, at + (size_of(y) > size_of(x)), over);
    }
}

/* Take `over` out of a lane: first from steps that have a rest already, then from those with the most to give. */
static int split_lane(window *v, size_t lane, int over)
{
    int open[WIDEST];
    for (size_t s = 0; s < v->count; s++)
        open[s] = 1;
    for (size_t tries = 0; tries < v->count && over > 0; tries++) {
        size_t best = 0;
        int most = -1;
        for (size_t s = 0; s < v->count; s++) {
            const int8_t *pair = v->main + s * QGEMM_STEP + lane * 2;
            const int give = size_of(pair[0]) + size_of(pair[1]) + (v->marked[s] ? 1000 : 0);
            if (open[s] && give > most) {
                most = give;
                best = s;
            }
        }
        open[best] = 0;
        over -= move(v, best * QGEMM_STEP + lane * 2, over);
        over -= move(v, best * QGEMM_STEP + lane * 2 + 1, over);
    }
    return over <= 0;
}

/* What steps of a window add up to, lane by lane. */
typedef struct {
    int16_t size[LANES]; /* P + N */
    int16_t most[LANES]; /* of one step */
    int16_t over;        /* a pair is beyond PAIR */
} lanes;

/* The two weights of each lane of a step as one int16.  Loops over LANES are those that compilers make vectors of. */
static void add_step(const int8_t *w, lanes *m)
{
    int16_t pair[LANES], over = 0;
    memcpy(pair, w, sizeof pair);
    for (size_t lane = 0; lane < LANES; lane++) {
        const int16_t x = (int16_t)(int8_t)pair[lane], y = (int16_t)(pair[lane] >> 8);
        const int16_t size = (int16_t)((x < 0 ? -x : x) + (y < 0 ? -y : y)), sum = (int16_t)(x + y);
        m->size[lane] = (int16_t)(m->size[lane] + size);
        m->most[lane] = m->most[lane] > size ? m->most[lane] : size;
        over |= (int16_t)((sum > PAIR) | (sum < -PAIR));
    }
    m->over |= over;
}

/* All steps of one window. */
static lanes measure(const int8_t *w, size_t count)
{
    lanes m = { .over = 0 };
    for (size_t s = 0; s < count; s++)
        add_step(w + s * QGEMM_STEP, &m);
    return m;
}

/* At least so many of a window's steps will have a rest: none takes more out of a lane than it put in.  0: it fits. */
static size_t marks(const lanes *m, size_t T)
{
    int16_t greatest = 0;
    for (size_t lane = 0; lane < LANES; lane++)
        greatest = greatest > m->size[lane] ? greatest : m->size[lane];
    int least = m->over;
    for (size_t lane = 0; T > 1 && greatest > WINDOW && lane < LANES; lane++)
        if (m->size[lane] - WINDOW > least * m->most[lane])
            least = (m->size[lane] - WINDOW + m->most[lane] - 1) / m->most[lane];
    return (size_t)least;
}

/* Whether `count` steps fit a window as they are. */
static int fits(const int8_t *w, size_t count, size_t T)
{
    const lanes m = measure(w, count);
    return !marks(&m, T);
}

static void join(lanes *m, const lanes *with)
{
    for (size_t lane = 0; lane < LANES; lane++) {
        m->size[lane] = (int16_t)(m->size[lane] + with->size[lane]);
        m->most[lane] = m->most[lane] > with->most[lane] ? m->most[lane] : with->most[lane];
    }
    m->over |= with->over;
}

/* For windows of 1, 2, 4 and 8 steps, all in one pass: how many steps will have a rest at least. */
static void survey(size_t steps, const int8_t *w, size_t rest[WIDEST + 1])
{
    lanes open[2 * WIDEST + 1] = { { .over = 0 } }; /* the last one takes what nobody reads */
    memset(rest, 0, (WIDEST + 1) * sizeof *rest);
    for (size_t s = 0; s < steps; s++) {
        add_step(w + s * QGEMM_STEP, open + 1);
        for (size_t T = 1; T <= WIDEST && ((s + 1) % T == 0 || s + 1 == steps); T *= 2) {
            rest[T] += marks(open + T, T);
            join(open + 2 * T, open + T);
            memset(open + T, 0, sizeof *open);
        }
    }
}

/* Whether the window could be split: steps without a rest are as they were. */
static int split(window *v, const int8_t *w, size_t count, size_t T)
{
    v->count = count;
    memcpy(v->main, w, count * QGEMM_STEP);
    memset(v->rest, 0, count * QGEMM_STEP);
    memset(v->marked, 0, sizeof v->marked);
    lanes m = measure(v->main, count);
    if (m.over) {
        split_pairs(v);
        m = measure(v->main, count);
    }
    for (size_t lane = 0; T > 1 && lane < LANES; lane++)
        if (m.size[lane] > WINDOW && !split_lane(v, lane, m.size[lane] - WINDOW))
            return 0;
    return 1;
}

/* What windows of T steps cost, or SIZE_MAX if that is not below `limit` or cannot be; `least` as from survey. */
static size_t weigh(size_t steps, const int8_t *w, size_t T, size_t limit, size_t least)
{
    window v;
    size_t total = steps * cost[T], rest = 0;
    if (!least)
        return total;
    if (total + REST_CALL + least * REST_COST >= limit)
        return SIZE_MAX;
    for (size_t s = 0; s < steps && total < limit; s += T) {
        const size_t count = min_size(T, steps - s);
        if (fits(w + s * QGEMM_STEP, count, T))
            continue;
        if (!split(&v, w + s * QGEMM_STEP, count, T))
            return SIZE_MAX;
        total += rest ? 0 : REST_CALL;
        for (size_t x = 0; x < count; x++) {
            rest += (size_t)v.marked[x];
            total += v.marked[x] ? REST_COST : 0;
        }
    }
    return total < limit && rest <= qgemm_acc16_rest(steps) ? total : SIZE_MAX;
}

/* The starts of a part; the first byte behind them. */
static char *fill_starts(qgemm_acc16_part *part, const int8_t *w, char *to)
{
    int16_t *start = (int16_t *)to;
    if (part->window < 2)
        return to;
    part->start = start;
    for (size_t s = 0; s < part->steps; s += part->window, start += LANES) {
        int16_t pair[LANES], balance[LANES] = { 0 }; /* P - N */
        for (size_t x = s; x < min_size(s + part->window, part->steps); x++) {
            memcpy(pair, w + x * QGEMM_STEP, sizeof pair);
            for (size_t lane = 0; lane < LANES; lane++)
                balance[lane] = (int16_t)(balance[lane] + (int8_t)pair[lane] + (pair[lane] >> 8));
        }
        for (size_t lane = 0; lane < LANES; lane++) {
            const int twice = -255 * balance[lane];
            start[lane] = (int16_t)((twice - (twice & 1)) / 2); /* floor */
        }
        for (size_t lane = 0; lane < LANES; lane++)
            part->fix[lane / 2] += start[lane];
    }
    return (char *)start;
}

/* Whether weights need no rest for windows of T steps. */
static int holds(const int8_t *w, size_t steps, size_t T)
{
    for (size_t s = 0; s < steps; s += T)
        if (!fits(w + s * QGEMM_STEP, min_size(T, steps - s), T))
            return 0;
    return 1;
}

/* Splits all windows: main weights at `main`, the others at `rest`, their places at `at`. */
static size_t split_all(size_t steps, const int8_t *w, size_t T, int8_t *main, int8_t *rest, uint32_t *at)
{
    window v;
    size_t count = 0;
    for (size_t s = 0; s < steps; s += T) {
        split(&v, w + s * QGEMM_STEP, min_size(T, steps - s), T);
        memcpy(main + s * QGEMM_STEP, v.main, v.count * QGEMM_STEP);
        for (size_t x = 0; x < v.count; x++)
            if (v.marked[x]) {
                memcpy(rest + count * QGEMM_STEP, v.rest + x * QGEMM_STEP, QGEMM_STEP);
                at[count++] = (uint32_t)(s + x);
            }
    }
    return count;
}

/* One panel; the first byte behind what it needed of `room`. */
static char *prove(size_t steps, const int8_t *w, qgemm_acc16 *proof, char *room)
{
    static const size_t windows[] = { 2, 4, 8, 1 }; /* the likeliest first: it bounds the others */
    size_t least = steps * cost[0], rest_least[WIDEST + 1];
    survey(steps, w, rest_least);
    for (int x = 0; x < 4; x++) {
        const size_t total = weigh(steps, w, windows[x], least, rest_least[windows[x]]);
        if (total < least) {
            least = total;
            proof->main.window = windows[x];
        }
    }
    proof->main.steps = steps;
    if (!proof->main.window || !rest_least[proof->main.window])
        return fill_starts(&proof->main, w, room);
    int8_t *main = (int8_t *)room, *rest = main + steps * QGEMM_STEP;
    uint32_t *at = (uint32_t *)(rest + qgemm_acc16_rest(steps) * QGEMM_STEP);
    qgemm_acc16_part *part = &proof->rest;
    proof->main.w = main;
    part->w = rest;
    part->at = at;
    part->steps = split_all(steps, w, proof->main.window, main, rest, at);
    part->window = WIDEST;
    while (part->window > 1 && !holds(rest, part->steps, part->window))
        part->window /= 2;
    room = (char *)at + round_up(qgemm_acc16_rest(steps) * 4, 64);
    return fill_starts(part, rest, fill_starts(&proof->main, main, room));
}

void qgemm_acc16_make(size_t panels, size_t steps, const int8_t *w, void *proofs)
{
    qgemm_acc16 *proof = proofs;
    char *room = (char *)(proof + panels);
    memset(proof, 0, panels * sizeof *proof);
    for (size_t p = 0; p < panels; p++, w += steps * QGEMM_STEP)
        room = prove(steps, w, proof + p, room);
}

PCX_TARGET_END
#endif
