/* recurrent_rows.c - the driver: a block of rows of one direction through all time steps, its states in scratch. */
#include "recurrent.h"

#include <math.h>

/* Rows of a block: some tiles of sgemm, and about equally many in each, so that no thread waits long for another. */
size_t recurrent_rows_block(size_t b)
{
    enum { MAX = 4 * SGEMM_TALL, MIN = SGEMM_TALL };
    const size_t blocks = round_up(max_size(ceil_div(b, MAX), 1), b > MIN ? 2 : 1);
    return max_size(round_up(ceil_div(b, blocks), MIN), MIN);
}

/* Scratch of a block, in floats: whole vectors for each gate. */
typedef struct {
    size_t rows, width, sum, kept, state, cell, all;
} recurrent_layout;

static recurrent_layout recurrent_rows_layout(const pcx_recurrent_args *p)
{
    recurrent_layout l = { .rows = min_size(recurrent_rows_block(p->b), p->b), .width = round_up(p->h, SGEMM_NR) };
    const size_t block = l.rows * l.width;
    l.kept = l.sum + p->g * block;
    l.state = l.kept + block;
    l.cell = l.state + block;
    l.all = l.cell + block;
    return l;
}

size_t recurrent_rows_units(const void *args, const recurrent_micro *micro)
{
    const pcx_recurrent_args *p = args;
    (void)micro;
    return p->d * ceil_div(p->b, recurrent_rows_block(p->b));
}

size_t recurrent_rows_scratch(const void *args, const recurrent_micro *micro)
{
    (void)micro;
    return recurrent_rows_layout(args).all * sizeof(float);
}

/* What a unit works on. */
typedef struct {
    const pcx_recurrent_args *p;
    const recurrent_micro *micro;
    recurrent_multiply_fn *multiply;
    const void *with;
    recurrent_layout l;
    float *scratch;
    size_t direction, first, count; /* rows from `first` on */
    int backward;
    sgemm_rows rows;
    size_t length[SGEMM_MB]; /* time steps of each row: read once, since other threads may write there */
    size_t row[SGEMM_MB], step[SGEMM_MB]; /* of each row that is multiplied: its number, and where in time it is */
} recurrent_unit;

static void recurrent_rows_fill(float *x, size_t n, float value)
{
    for (size_t j = 0; j < n; j++)
        x[j] = value;
}

static float *recurrent_rows_out(const recurrent_unit *u, size_t step, size_t r)
{
    const pcx_recurrent_args *p = u->p;
    return p->out + step * p->ot + u->direction * p->od + (u->first + r) * p->ob;
}

/* The states at the start, and results beyond the end of a row. */
static void recurrent_rows_begin(recurrent_unit *u)
{
    const pcx_recurrent_args *p = u->p;
    for (size_t r = 0; r < u->count; r++) {
        const size_t at = u->direction * p->b + u->first + r;
        const volatile int32_t *const given = p->lengths ? p->lengths + u->first + r : NULL;
        const int64_t length = given ? *given : (int64_t)p->t;
        const int fits = length >= 0 && length <= (int64_t)p->t;
        float *const state = u->scratch + u->l.state + r * u->l.width, *const cell = u->scratch + u->l.cell + r * u->l.width;
        const float other = fits ? 0 : NAN;
        u->length[r] = fits ? (size_t)length : 0;
        recurrent_rows_fill(state, p->h, other);
        recurrent_rows_fill(cell, p->h, other);
        if (p->h0 && fits)
            memcpy(state, p->h0 + at * p->h, p->h * sizeof *state);
        if (p->c0 && fits)
            memcpy(cell, p->c0 + at * p->c, p->c * sizeof *cell);
        for (size_t step = u->length[r]; step < p->t; step++)
            recurrent_rows_fill(recurrent_rows_out(u, step, r), p->h, other);
    }
}

static void recurrent_rows_end(const recurrent_unit *u)
{
    const pcx_recurrent_args *p = u->p;
    for (size_t r = 0; r < u->count; r++) {
        const size_t at = u->direction * p->b + u->first + r;
        memcpy(p->out_h + at * p->h, u->scratch + u->l.state + r * u->l.width, p->h * sizeof(float));
        memcpy(p->out_c + at * p->c, u->scratch + u->l.cell + r * u->l.width, p->c * sizeof(float));
    }
}

/* The rows that have a time step number s, and where: a backward direction begins at a row's own end. */
static void recurrent_rows_active(recurrent_unit *u, size_t s)
{
    u->rows.count = 0;
    for (size_t r = 0; r < u->count; r++)
        if (s < u->length[r]) {
            u->row[u->rows.count] = r;
            u->step[u->rows.count++] = u->backward ? u->length[r] - 1 - s : s;
        }
}

/* sums of the gates [begin, end) = the rows at `from` in scratch times their weights. */
static void recurrent_rows_multiply(recurrent_unit *u, size_t from, size_t begin, size_t end)
{
    for (size_t i = 0; i < u->rows.count; i++) {
        u->rows.a[i] = u->scratch + from + u->row[i] * u->l.width;
        u->rows.out[i] = u->scratch + u->l.sum + u->row[i] * u->p->g * u->l.width;
    }
    u->multiply(u->with, &u->rows, u->direction, begin, end);
}

static recurrent_row recurrent_rows_row(const recurrent_unit *u, size_t i)
{
    const pcx_recurrent_args *p = u->p;
    const size_t r = u->row[i], k = u->direction;
    return (recurrent_row){
        .micro = u->micro, .h = p->h, .width = u->l.width, .acts = p->acts + 3 * k, .params = p->act_params + 6 * k, .clip = p->clip[0],
        .coupled = p->coupled != 0, .linear = p->linear != 0,
        .bias = p->bias ? p->bias + k * p->h : NULL,
        .peepholes = p->peepholes ? p->peepholes + 3 * k * p->h : NULL,
        .x = p->x + u->step[i] * p->xt + (u->first + r) * p->xb + k * p->g * p->h,
        .sum = u->scratch + u->l.sum + r * p->g * u->l.width,
        .state = u->scratch + u->l.state + r * u->l.width,
        .cell = u->scratch + u->l.cell + r * u->l.width,
    };
}

static void recurrent_rows_step(recurrent_unit *u)
{
    const pcx_recurrent_args *p = u->p;
    const int twice = p->g == RECURRENT_GRU && !p->linear; /* the hidden gate multiplies what the reset gate keeps */
    void (*const cell)(const recurrent_row *) = p->g == RECURRENT_LSTM ? recurrent_cell_lstm
                                                : p->g == RECURRENT_GRU ? recurrent_cell_gru
                                                                        : recurrent_cell_rnn;
    recurrent_rows_multiply(u, u->l.state, 0, p->g - (size_t)twice);
    if (twice) {
        for (size_t i = 0; i < u->rows.count; i++) {
            const recurrent_row row = recurrent_rows_row(u, i);
            recurrent_cell_reset(&row, u->scratch + u->l.kept + u->row[i] * u->l.width);
        }
        recurrent_rows_multiply(u, u->l.kept, 2, 3);
    }
    for (size_t i = 0; i < u->rows.count; i++) {
        const recurrent_row row = recurrent_rows_row(u, i);
        cell(&row);
        memcpy(recurrent_rows_out(u, u->step[i], u->row[i]), row.state, p->h * sizeof *row.state);
    }
}

void recurrent_rows_steps(const pcx_recurrent_args *p, size_t begin, size_t end, float *scratch,
                          const recurrent_micro *micro, recurrent_multiply_fn *multiply, const void *with)
{
    const size_t block = recurrent_rows_block(p->b), blocks = ceil_div(p->b, block);
    recurrent_unit u = { .p = p, .micro = micro, .multiply = multiply, .with = with, .l = recurrent_rows_layout(p),
                         .scratch = scratch };
    u.rows.lines = u.rows.runs = 1;
    u.rows.length = p->h;
    for (size_t unit = begin; unit < end; unit++) {
        u.direction = unit / blocks;
        u.first = unit % blocks * block;
        u.count = min_size(block, p->b - u.first);
        u.backward = (int)(p->backward >> u.direction & 1);
        recurrent_rows_begin(&u);
        for (size_t s = 0; s < p->t; s++) {
            recurrent_rows_active(&u, s);
            if (u.rows.count)
                recurrent_rows_step(&u);
        }
        recurrent_rows_end(&u);
    }
}

/* Float weights and their product. */
typedef struct {
    const pcx_recurrent_args *p;
    const recurrent_micro *micro;
} recurrent_weights;

static void recurrent_rows_product(const void *with, const sgemm_rows *rows, size_t direction, size_t begin, size_t end)
{
    const recurrent_weights *own = with;
    const pcx_recurrent_args *p = own->p;
    const size_t width = round_up(p->h, SGEMM_NR), panels = width / SGEMM_NR;
    static const pcx_epilogue plain;
    const sgemm_target to = { p->w + direction * p->g * width * p->h, p->h * SGEMM_NR, p->g * width, &plain };
    own->micro->product(rows, &to, begin * panels, end * panels);
}

void recurrent_rows_run(const void *args, size_t begin, size_t end, void *scratch, const recurrent_micro *micro)
{
    const recurrent_weights own = { args, micro };
    recurrent_rows_steps(args, begin, end, scratch, micro, recurrent_rows_product, &own);
}
