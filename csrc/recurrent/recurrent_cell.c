/* recurrent_cell.c - the cells: one time step of a row, of the loops that an ISA has. */
#include "recurrent.h"

/* Gate number `gate`, in place, from its sums. */
static float *recurrent_cell_gate(const recurrent_row *r, size_t gate, const float *hole, size_t which)
{
    float *const y = r->sum + gate * r->width;
    r->micro->add(y, r->x + gate * r->h, hole, r->cell, r->clip, r->h);
    r->micro->act(y, r->h, r->acts[which], r->params + 2 * which);
    return y;
}

void recurrent_cell_rnn(const recurrent_row *r)
{
    memcpy(r->state, recurrent_cell_gate(r, 0, NULL, 0), r->h * sizeof *r->state);
}

/* Gates in the order input, output, forget, cell; so are the peepholes, without the last. */
void recurrent_cell_lstm(const recurrent_row *r)
{
    const float *const holes = r->peepholes;
    const float *const in = recurrent_cell_gate(r, 0, holes, 0);
    const float *const keep = r->coupled ? NULL : recurrent_cell_gate(r, 2, holes ? holes + 2 * r->h : NULL, 0);
    r->micro->mix(r->cell, in, recurrent_cell_gate(r, 3, NULL, 1), keep, r->h);
    memcpy(r->state, r->cell, r->h * sizeof *r->state);
    r->micro->act(r->state, r->h, r->acts[2], r->params + 4);
    r->micro->multiply(r->state, recurrent_cell_gate(r, 1, holes ? holes + r->h : NULL, 0), r->h);
}

/* Gates in the order update, reset, hidden. */
void recurrent_cell_reset(const recurrent_row *r, float *kept)
{
    memcpy(kept, r->state, r->h * sizeof *kept);
    r->micro->multiply(kept, recurrent_cell_gate(r, 1, NULL, 0), r->h);
}

void recurrent_cell_gru(const recurrent_row *r)
{
    float *const sum = r->sum + 2 * r->width;
    if (r->linear) {
        for (size_t j = 0; j < r->h && r->bias; j++)
            sum[j] += r->bias[j];
        r->micro->multiply(sum, recurrent_cell_gate(r, 1, NULL, 0), r->h);
    }
    float *const new = recurrent_cell_gate(r, 2, NULL, 1);
    r->micro->mix(new, recurrent_cell_gate(r, 0, NULL, 0), r->state, NULL, r->h);
    memcpy(r->state, new, r->h * sizeof *new);
}
