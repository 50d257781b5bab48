/* asking.c - see asking.h. */
#define _GNU_SOURCE
#include "asking.h"

double asking_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct timespec asking_soon(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += (long)(1e9 * ASKING_SECONDS);
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

void asking_ask(asking *who)
{
    if (asking_now() < who->due)
        return;
    pcx_float_leave(who->mode);
    if (who->ask(who->context))
        atomic_store(&who->stopped, 1);
    who->mode = pcx_float_enter();
    who->due = asking_now() + ASKING_SECONDS;
}

void asking_run(asking *who, const pcx_impl *impl, void *args, size_t begin, size_t end, void *scratch, int large,
                int caller)
{
    enum { PARTS = 64 };
    double before = large ? asking_now() : 0;
    size_t size = large ? max_size(1, (end - begin) / PARTS) : end - begin;
    while (begin < end && !atomic_load_explicit(&who->stopped, memory_order_relaxed)) {
        const size_t stop = end - begin > size ? begin + size : end;
        impl->run(args, begin, stop, scratch);
        begin = stop;
        if (caller)
            asking_ask(who);
        if (begin == end)
            break;
        const double now = asking_now(), took = now - before;
        before = now;
        size = took < ASKING_SECONDS / 8 ? size * 2 : took > ASKING_SECONDS / 2 ? max_size(1, size / 2) : size;
    }
}
