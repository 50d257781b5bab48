/* qgemm_acc16.c - see qgemm_acc16.h; for AArch64, qgemm_acc16_neon.c. */
#include "qgemm_acc16.h"

#if PCX_X86
PCX_TARGET("avx2")

enum { LANES = 2 * QGEMM_NR, PAIR = 128, CHUNK = 256, DEEPEST = 8 };

/* Tenths of cycles that a step of a tile costs, by accumulation depth ([0]: widened), for main parts and rests. */
static const size_t cost[DEEPEST + 1] = { 236, 132, 118, 0, 94, 0, 0, 0, 85 };
enum { REST_COST = 100, REST_CALL = 300 };

static size_t qgemm_acc16_starts(size_t steps) { return ceil_div(steps, 2) * LANES * sizeof(int16_t); }

size_t qgemm_acc16_bytes(size_t panels, size_t steps)
{
    const size_t rest = qgemm_acc16_rest(steps);
    const size_t each = qgemm_acc16_starts(steps) + steps * QGEMM_STEP + qgemm_acc16_starts(rest) + rest * QGEMM_STEP +
                        round_up(rest * 4, 64);
    return panels * (sizeof(qgemm_acc16) + each);
}

/* The steps of one chunk while they are split; the rest starts as zeros. */
typedef struct {
    size_t count;
    int8_t main[DEEPEST * QGEMM_STEP], rest[DEEPEST * QGEMM_STEP];
    int marked[DEEPEST]; /* has a rest */
} chunk;

static int qgemm_acc16_size_of(int x) { return x < 0 ? -x : x; }

/* Move up to `max` of the weight at `at` into the rest, keeping the pair's bound there; returns how much was moved. */
static int qgemm_acc16_move(chunk *v, size_t at, int max)
{
    const int x = v->main[at], other = v->rest[at ^ 1], same = (x < 0) == (other < 0) ? qgemm_acc16_size_of(other) : 0;
    int amount = qgemm_acc16_size_of(x) < max ? qgemm_acc16_size_of(x) : max;
    const int space = PAIR - same - qgemm_acc16_size_of(v->rest[at]);
    amount = amount < space ? amount : space;
    if (x > 0 && amount > 127 - v->rest[at])
        amount = 127 - v->rest[at];
    if (amount <= 0)
        return 0;
    v->main[at] = (int8_t)(x < 0 ? x + amount : x - amount);
    v->rest[at] = (int8_t)(x < 0 ? v->rest[at] - amount : v->rest[at] + amount);
    v->marked[at / QGEMM_STEP] = 1;
    return amount;
}

/* A pair of weights of different signs is within the bound; of the same sign, reducing the larger one is enough. */
static void qgemm_acc16_split_pairs(chunk *v)
{
    for (size_t at = 0; at < v->count * QGEMM_STEP; at += 2) {
        const int x = v->main[at], y = v->main[at + 1], over = qgemm_acc16_size_of(x + y) - PAIR;
        if (over > 0)
            qgemm_acc16_move(v, at + (qgemm_acc16_size_of(y) > qgemm_acc16_size_of(x)), over);
    }
}

/* Move `over` out of a lane: first from steps that have a rest already, then from those with the largest weights. */
static int qgemm_acc16_split_lane(chunk *v, size_t lane, int over)
{
    int open[DEEPEST];
    for (size_t s = 0; s < v->count; s++)
        open[s] = 1;
    for (size_t tries = 0; tries < v->count && over > 0; tries++) {
        size_t best = 0;
        int max = -1;
        for (size_t s = 0; s < v->count; s++) {
            const int8_t *pair = v->main + s * QGEMM_STEP + lane * 2;
            const int give = qgemm_acc16_size_of(pair[0]) + qgemm_acc16_size_of(pair[1]) + (v->marked[s] ? 1000 : 0);
            if (open[s] && give > max) {
                max = give;
                best = s;
            }
        }
        open[best] = 0;
        over -= qgemm_acc16_move(v, best * QGEMM_STEP + lane * 2, over);
        over -= qgemm_acc16_move(v, best * QGEMM_STEP + lane * 2 + 1, over);
    }
    return over <= 0;
}

/* The sums over steps of a chunk, lane by lane. */
typedef struct {
    int16_t size[LANES]; /* P + N */
    int16_t max[LANES]; /* of one step */
    int16_t over;        /* a pair exceeds PAIR */
} qgemm_lanes;

/* The two weights of each lane of a step as one int16.  Loops over LANES are those that compilers make vectors of. */
static void qgemm_acc16_add_step(const int8_t *w, qgemm_lanes *m)
{
    int16_t pair[LANES], over = 0;
    memcpy(pair, w, sizeof pair);
    for (size_t lane = 0; lane < LANES; lane++) {
        const int16_t x = (int16_t)(int8_t)pair[lane], y = (int16_t)(pair[lane] >> 8);
        const int16_t size = (int16_t)((x < 0 ? -x : x) + (y < 0 ? -y : y)), sum = (int16_t)(x + y);
        m->size[lane] = (int16_t)(m->size[lane] + size);
        m->max[lane] = m->max[lane] > size ? m->max[lane] : size;
        over |= (int16_t)((sum > PAIR) | (sum < -PAIR));
    }
    m->over |= over;
}

/* All steps of one chunk. */
static qgemm_lanes qgemm_acc16_measure(const int8_t *w, size_t count)
{
    qgemm_lanes m = { .over = 0 };
    for (size_t s = 0; s < count; s++)
        qgemm_acc16_add_step(w + s * QGEMM_STEP, &m);
    return m;
}

/* A lower bound of the steps of a chunk that need a rest (each can reduce a lane only by its own share); 0: none. */
static size_t qgemm_acc16_marks(const qgemm_lanes *m, size_t depth)
{
    int16_t max = 0;
    for (size_t lane = 0; lane < LANES; lane++)
        max = max > m->size[lane] ? max : m->size[lane];
    int min = m->over;
    for (size_t lane = 0; depth > 1 && max > CHUNK && lane < LANES; lane++)
        if (m->size[lane] - CHUNK > min * m->max[lane])
            min = (m->size[lane] - CHUNK + m->max[lane] - 1) / m->max[lane];
    return (size_t)min;
}

/* Whether a chunk of `count` steps is within the bounds without a rest. */
static int qgemm_acc16_fits(const int8_t *w, size_t count, size_t depth)
{
    const qgemm_lanes m = qgemm_acc16_measure(w, count);
    return !qgemm_acc16_marks(&m, depth);
}

static void qgemm_acc16_join(qgemm_lanes *m, const qgemm_lanes *with)
{
    for (size_t lane = 0; lane < LANES; lane++) {
        m->size[lane] = (int16_t)(m->size[lane] + with->size[lane]);
        m->max[lane] = m->max[lane] > with->max[lane] ? m->max[lane] : with->max[lane];
    }
    m->over |= with->over;
}

/* For depths 1, 2, 4 and 8, in one pass: the minimum number of steps that need a rest. */
static void qgemm_acc16_survey(size_t steps, const int8_t *w, size_t rest[DEEPEST + 1])
{
    qgemm_lanes open[2 * DEEPEST + 1] = { { .over = 0 } }; /* the last one is written but never read */
    memset(rest, 0, (DEEPEST + 1) * sizeof *rest);
    for (size_t s = 0; s < steps; s++) {
        qgemm_acc16_add_step(w + s * QGEMM_STEP, open + 1);
        for (size_t depth = 1; depth <= DEEPEST && ((s + 1) % depth == 0 || s + 1 == steps); depth *= 2) {
            rest[depth] += qgemm_acc16_marks(open + depth, depth);
            qgemm_acc16_join(open + 2 * depth, open + depth);
            memset(open + depth, 0, sizeof *open);
        }
    }
}

/* Whether the chunk could be split; steps without a rest are unchanged. */
static int qgemm_acc16_split(chunk *v, const int8_t *w, size_t count, size_t depth)
{
    v->count = count;
    memcpy(v->main, w, count * QGEMM_STEP);
    memset(v->rest, 0, count * QGEMM_STEP);
    memset(v->marked, 0, sizeof v->marked);
    qgemm_lanes m = qgemm_acc16_measure(v->main, count);
    if (m.over) {
        qgemm_acc16_split_pairs(v);
        m = qgemm_acc16_measure(v->main, count);
    }
    for (size_t lane = 0; depth > 1 && lane < LANES; lane++)
        if (m.size[lane] > CHUNK && !qgemm_acc16_split_lane(v, lane, m.size[lane] - CHUNK))
            return 0;
    return 1;
}

/* The cost of depth `depth`; SIZE_MAX if it is not below `limit` or not possible; `min` comes from the survey. */
static size_t qgemm_acc16_weigh(size_t steps, const int8_t *w, size_t depth, size_t limit, size_t min)
{
    chunk v;
    size_t total = steps * cost[depth], rest = 0;
    if (!min)
        return total;
    if (total + REST_CALL + min * REST_COST >= limit)
        return SIZE_MAX;
    for (size_t s = 0; s < steps && total < limit; s += depth) {
        const size_t count = min_size(depth, steps - s);
        if (qgemm_acc16_fits(w + s * QGEMM_STEP, count, depth))
            continue;
        if (!qgemm_acc16_split(&v, w + s * QGEMM_STEP, count, depth))
            return SIZE_MAX;
        total += rest ? 0 : REST_CALL;
        for (size_t x = 0; x < count; x++) {
            rest += (size_t)v.marked[x];
            total += v.marked[x] ? REST_COST : 0;
        }
    }
    return total < limit && rest <= qgemm_acc16_rest(steps) ? total : SIZE_MAX;
}

/* The start values of a part; returns the first byte behind them. */
static char *qgemm_acc16_fill_starts(qgemm_acc16_part *part, const int8_t *w, char *to)
{
    int16_t *start = (int16_t *)to;
    if (part->depth < 2)
        return to;
    part->start = start;
    for (size_t s = 0; s < part->steps; s += part->depth, start += LANES) {
        int16_t pair[LANES], balance[LANES] = { 0 }; /* P - N */
        for (size_t x = s; x < min_size(s + part->depth, part->steps); x++) {
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

/* Whether weights need no rest for depth `depth`. */
static int qgemm_acc16_holds(const int8_t *w, size_t steps, size_t depth)
{
    for (size_t s = 0; s < steps; s += depth)
        if (!qgemm_acc16_fits(w + s * QGEMM_STEP, min_size(depth, steps - s), depth))
            return 0;
    return 1;
}

/* Splits all chunks into main weights at `main`, and rests at `rest` with their steps at `at`. */
static size_t qgemm_acc16_split_all(size_t steps, const int8_t *w, size_t depth, int8_t *main, int8_t *rest,
                                    uint32_t *at)
{
    chunk v;
    size_t count = 0;
    for (size_t s = 0; s < steps; s += depth) {
        qgemm_acc16_split(&v, w + s * QGEMM_STEP, min_size(depth, steps - s), depth);
        memcpy(main + s * QGEMM_STEP, v.main, v.count * QGEMM_STEP);
        for (size_t x = 0; x < v.count; x++)
            if (v.marked[x]) {
                memcpy(rest + count * QGEMM_STEP, v.rest + x * QGEMM_STEP, QGEMM_STEP);
                at[count++] = (uint32_t)(s + x);
            }
    }
    return count;
}

/* One panel; returns the first unused byte of `space`. */
static char *qgemm_acc16_panel(size_t steps, const int8_t *w, qgemm_acc16 *acc16, char *space)
{
    static const size_t depths[] = { 2, 4, 8, 1 }; /* the likeliest first: it bounds the others */
    size_t min = steps * cost[0], rest_min[DEEPEST + 1];
    qgemm_acc16_survey(steps, w, rest_min);
    for (int x = 0; x < 4; x++) {
        const size_t total = qgemm_acc16_weigh(steps, w, depths[x], min, rest_min[depths[x]]);
        if (total < min) {
            min = total;
            acc16->main.depth = depths[x];
        }
    }
    acc16->main.steps = steps;
    if (!acc16->main.depth || !rest_min[acc16->main.depth])
        return qgemm_acc16_fill_starts(&acc16->main, w, space);
    int8_t *main = (int8_t *)space, *rest = main + steps * QGEMM_STEP;
    uint32_t *at = (uint32_t *)(rest + qgemm_acc16_rest(steps) * QGEMM_STEP);
    qgemm_acc16_part *part = &acc16->rest;
    acc16->main.w = main;
    part->w = rest;
    part->at = at;
    part->steps = qgemm_acc16_split_all(steps, w, acc16->main.depth, main, rest, at);
    part->depth = DEEPEST;
    while (part->depth > 1 && !qgemm_acc16_holds(rest, part->steps, part->depth))
        part->depth /= 2;
    space = (char *)at + round_up(qgemm_acc16_rest(steps) * 4, 64);
    return qgemm_acc16_fill_starts(part, rest, qgemm_acc16_fill_starts(&acc16->main, main, space));
}

void qgemm_acc16_make(size_t panels, size_t steps, const int8_t *w, void *made)
{
    qgemm_acc16 *acc16 = made;
    char *space = (char *)(acc16 + panels);
    memset(acc16, 0, panels * sizeof *acc16);
    for (size_t p = 0; p < panels; p++, w += steps * QGEMM_STEP)
        space = qgemm_acc16_panel(steps, w, acc16 + p, space);
}

PCX_TARGET_END
#elif !PCX_ARM64 /* no micro-kernel needs it */
size_t qgemm_acc16_bytes(size_t panels, size_t steps) { return (void)panels, (void)steps, 0; }
void qgemm_acc16_make(size_t panels, size_t steps, const int8_t *w, void *made) { (void)panels, (void)steps, (void)w, (void)made; }
#endif
