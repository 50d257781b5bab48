/*
 * wrapped.h - every call by which the library allocates, counted, and refused where a check wants it.  For one C file that is
 * linked with --wrap of these functions (tests/support/wrapped.py).
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>

static atomic_long live, calls; /* blocks and mappings; calls since the last one that was told to fail */
static atomic_long fails_at;    /* the number of the call that fails, 0: none */
static atomic_int goes_on;      /* so do all after it */

static int refused(void)
{
    const long call = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&fails_at);
    return at && (atomic_load(&goes_on) ? call >= at : call == at);
}

#define WRAPPED(name, result, parameters, arguments, failure, counted) \
    result __real_##name parameters;                                   \
    result __wrap_##name parameters;                                   \
    result __wrap_##name parameters                                    \
    {                                                                  \
        if (refused())                                                 \
            return failure;                                            \
        const result made = __real_##name arguments;                   \
        if (counted)                                                   \
            atomic_fetch_add(&live, 1);                                \
        return made;                                                   \
    }
typedef void *block;
typedef void *(*start)(void *);
WRAPPED(malloc, block, (size_t bytes), (bytes), NULL, made)
WRAPPED(calloc, block, (size_t count, size_t size), (count, size), NULL, made)
WRAPPED(realloc, block, (void *old, size_t bytes), (old, bytes), NULL, made && !old)
WRAPPED(aligned_alloc, block, (size_t align, size_t bytes), (align, bytes), NULL, made)
WRAPPED(mmap, block, (void *at, size_t bytes, int may, int flags, int file, off_t from), (at, bytes, may, flags, file, from),
        (errno = ENOMEM, MAP_FAILED), made != MAP_FAILED)
WRAPPED(pthread_create, int, (pthread_t * id, const pthread_attr_t *how, start run, void *arg), (id, how, run, arg), EAGAIN, 0)
void __real_free(void *old);
void __wrap_free(void *old);
void __wrap_free(void *old)
{
    if (old)
        atomic_fetch_sub(&live, 1);
    __real_free(old);
}
int __real_munmap(void *old, size_t bytes);
int __wrap_munmap(void *old, size_t bytes);
int __wrap_munmap(void *old, size_t bytes)
{
    atomic_fetch_sub(&live, 1);
    return __real_munmap(old, bytes);
}
