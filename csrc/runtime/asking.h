/* asking.h - runs that may be stopped: who is asked, and when. */
#ifndef PCX_ASKING_H
#define PCX_ASKING_H

#include "../common/pcx.h"

#include <stdatomic.h>
#include <time.h>

#define ASKING_SECONDS 50e-3 /* from one question to the next */

/* Who may stop a run.  All but `stopped` is of the thread that calls the run, which alone asks. */
typedef struct {
    pcx_ask_fn *ask;
    void *context;
    pcx_float_mode mode; /* the caller's own, for `ask` */
    double due;          /* when it is asked next */
    atomic_int stopped;
} asking;

/* Seconds since some moment. */
PCX_HIDDEN double asking_now(void);

/* The moment ASKING_SECONDS from now, for waits of pthread's. */
PCX_HIDDEN struct timespec asking_soon(void);

/* Ask, if it is time to.  The thread is in the mode of runs before and after that. */
PCX_HIDDEN void asking_ask(asking *who);

/*
 * Run units [begin, end), unless the run was stopped: at once, or, if there is much to do, in parts of some milliseconds as
 * far as that is known.  `caller`: this is the thread that asks.
 */
PCX_HIDDEN void asking_run(asking *who, const pcx_impl *impl, void *args, size_t begin, size_t end, void *scratch, int large,
                           int caller);

#endif
