/* recurrent.h - what the recurrent files share: the product of the states is sgemm's, loops make new states of the sums. */
#ifndef PCX_RECURRENT_H
#define PCX_RECURRENT_H

#include "../sgemm/sgemm.h"

enum { RECURRENT_RNN = 1, RECURRENT_GRU = 3, RECURRENT_LSTM = 4 }; /* how many gates each has */

/* The code of an ISA.  Arrays are the same or do not overlap, n numbers each. */
typedef struct {
    void (*product)(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end); /* as in sgemm_micro */
    /* y = clip(y + x + hole * cell), to [-top, top] unless it is NaN; without hole if NULL */
    void (*add)(float *y, const float *x, const float *hole, const float *cell, float top, size_t n);
    void (*act)(float *y, size_t n, int32_t act, const float *params); /* y = act(y) */
    void (*multiply)(float *y, const float *a, size_t n);              /* y *= a */
    /* y = a * b + c * y; without c: (1 - a) */
    void (*mix)(float *y, const float *a, const float *b, const float *c, size_t n);
} recurrent_micro;

/* Row i of `out`, [g:width,h], the gates [begin, end), = row i of `a`, a state, times the weights of a direction. */
typedef void recurrent_multiply_fn(const void *with, const sgemm_rows *rows, size_t direction, size_t begin, size_t end);

/* recurrent_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t recurrent_rows_units(const void *args, const recurrent_micro *micro);
PCX_HIDDEN size_t recurrent_rows_scratch(const void *args, const recurrent_micro *micro);
PCX_HIDDEN void recurrent_rows_run(const void *args, size_t begin, size_t end, void *scratch, const recurrent_micro *micro);

/* The same for weights of any kind, which `multiply` knows; p->w is not read. */
PCX_HIDDEN size_t recurrent_rows_block(size_t b);
PCX_HIDDEN void recurrent_rows_steps(const pcx_recurrent_args *p, size_t begin, size_t end, float *scratch,
                                     const recurrent_micro *micro, recurrent_multiply_fn *multiply, const void *with);

/* recurrent_cell.c: one time step of a row. */
typedef struct {
    const recurrent_micro *micro;
    size_t h, width;     /* numbers of a gate; from one gate to the next in `sum` */
    const int32_t *acts; /* [3] */
    const float *params; /* [3,2] */
    float clip;
    int coupled, linear;
    const float *bias, *peepholes;
    const float *x;      /* [g,h]: the products of the inputs */
    float *sum;          /* [g:width,h]: the products of the state; overwritten */
    float *state, *cell; /* [h], from the old to the new; cell is an LSTM's */
} recurrent_row;

PCX_HIDDEN void recurrent_cell_rnn(const recurrent_row *r);
PCX_HIDDEN void recurrent_cell_lstm(const recurrent_row *r);
/* The state times the reset gate, which an ordinary GRU multiplies next; then the new state. */
PCX_HIDDEN void recurrent_cell_reset(const recurrent_row *r, float *kept);
PCX_HIDDEN void recurrent_cell_gru(const recurrent_row *r);

#endif
