/* process.c - see process.h. */
#define _GNU_SOURCE
#include "process.h"

#include <sys/mman.h>
#include <unistd.h>

#if defined(__linux__) && !defined(MADV_WIPEONFORK)
#define MADV_WIPEONFORK 18 /* libraries older than the kernel lack the name; a kernel that lacks it says so */
#endif

enum { PAGE = 4096 }; /* whole pages are mapped, whatever their size */

int process_mark_make(process_mark *m)
{
#ifdef MADV_WIPEONFORK
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return 0;
    if (madvise(page, PAGE, MADV_WIPEONFORK))
        munmap(page, PAGE);
    else
        m->page = page;
#else
    (void)m;
#endif
    return 1;
}

void process_mark_free(process_mark *m)
{
    if (m->page)
        munmap((void *)m->page, PAGE);
}

int process_number(process_mark *m)
{
    if (!m->page)
        return (int)getpid();
    int own = atomic_load(m->page);
    if (own)
        return own;
    /* Counted before it is written: a process forked in between counts on, and no two have the same number. */
    const int fresh = atomic_fetch_add(&m->last, 1) + 1;
    return atomic_compare_exchange_strong(m->page, &own, fresh) ? fresh : own;
}
