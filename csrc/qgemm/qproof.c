/* qproof.c - see qproof.h. */
#include "qproof.h"

enum { LANES = 2 * QGEMM_NR, PAIR = 128, WINDOW = 256, WIDEST = 8 };

/* Room for the starts of one panel: windows of two are the most. */
static size_t starts(size_t steps) { return ceil_div(steps, 2) * LANES; }

size_t qproof_bytes(size_t panels, size_t steps)
{
    return panels * (sizeof(qproof) + starts(steps) * sizeof(int16_t));
}

/* The sums P and N of one lane over `count` steps from `w` on. */
static void sums(const int8_t *w, size_t count, size_t lane, int *P, int *N)
{
    *P = *N = 0;
    for (size_t s = 0; s < count; s++)
        for (size_t b = 0; b < 2; b++) {
            const int x = w[s * QGEMM_STEP + lane * 2 + b];
            *P += x > 0 ? x : 0;
            *N -= x < 0 ? x : 0;
        }
}

static int holds(const int8_t *w, size_t steps, size_t window)
{
    for (size_t s = 0; s < steps; s += window)
        for (size_t lane = 0; lane < LANES; lane++) {
            int P, N;
            sums(w + s * QGEMM_STEP, min_size(window, steps - s), lane, &P, &N);
            if (window == 1 ? P > PAIR || N > PAIR : P + N > WINDOW)
                return 0;
        }
    return 1;
}

void qproof_make(size_t panels, size_t steps, const int8_t *w, void *proofs)
{
    qproof *proof = proofs;
    int16_t *start = (int16_t *)(proof + panels);
    for (size_t p = 0; p < panels; p++, proof++, w += steps * QGEMM_STEP, start += starts(steps)) {
        memset(proof, 0, sizeof *proof);
        if (!holds(w, steps, 1))
            continue;
        proof->window = WIDEST; /* what holds for 2T holds for T */
        while (proof->window > 1 && !holds(w, steps, proof->window))
            proof->window /= 2;
        if (proof->window == 1)
            continue;
        proof->start = start;
        for (size_t s = 0, at = 0; s < steps; s += proof->window)
            for (size_t lane = 0; lane < LANES; lane++, at++) {
                int P, N;
                sums(w + s * QGEMM_STEP, min_size(proof->window, steps - s), lane, &P, &N);
                const int twice = 255 * (N - P);
                start[at] = (int16_t)((twice - (twice & 1)) / 2); /* floor */
                proof->fix[lane / 2] += start[at];
            }
    }
}
