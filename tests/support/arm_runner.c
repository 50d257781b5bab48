/*
 * arm_runner.c - runs kernels for arm.py: reads calls with their arrays on stdin and writes the arrays that a kernel wrote
 * to stdout.  It runs under qemu-aarch64, or on a board behind ssh.  Both sides are little-endian.
 *
 * First it writes a line for each row of each kernel's table: kernel, ISA, what it needs, what this CPU lacks of that, and
 * which functions the row has; then an empty line.  A request is a `request`, its slots, its `array`s and their bytes; the answer is a number and the
 * bytes of the written arrays.  Every array ends at a page that nobody may touch, and scratch begins as nonsense.
 */
#define _GNU_SOURCE
#include <pycompress.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { UNITS, SCRATCH, SUITS, RUN, CALL }; /* what a request wants; RUN: the units [begin, end) in the plain float mode */
enum { PARTS = 3 };                        /* in which the units of CALL are done */
enum { SLOTS_MAX = 128, NONSENSE = 0xa5 };

typedef struct {
    uint64_t what, kernel, row, begin, end, prepared, slots, arrays; /* prepared: its slot + 1, or 0 */
} request;

typedef struct {
    uint64_t slot, bytes, same, written; /* same: the slot + 1 of an earlier array that this one is, or 0 */
} array;

static size_t page;

static void die(const char *why)
{
    fprintf(stderr, "arm_runner: %s\n", why);
    exit(2);
}

/* Memory whose last byte, rounded up to `align`, touches an unreadable page. */
static void *fenced(size_t bytes, size_t align)
{
    const size_t all = (bytes + align - 1) / align * align, space = (all + page - 1) / page * page;
    char *pages = mmap(NULL, space + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + space, page, PROT_NONE))
        die("no memory");
    memset(pages, NONSENSE, space);
    return pages + space - all;
}

static void fenced_free(void *at, size_t bytes, size_t align)
{
    const size_t all = (bytes + align - 1) / align * align, space = (all + page - 1) / page * page;
    munmap((char *)at + all - space, space + page);
}

static void get(void *to, size_t bytes)
{
    if (bytes && fread(to, 1, bytes, stdin) != bytes)
        exit(0); /* the other side is gone */
}

static void put(const void *from, size_t bytes)
{
    if (bytes && fwrite(from, 1, bytes, stdout) != bytes)
        die("cannot write");
}

static void tell_rows(void)
{
    const uint32_t cpu = pcx_cpu();
    for (const pcx_kernel *const *k = pcx_kernels(); *k; k++)
        for (const pcx_impl *row = (*k)->impls;; row++) {
            printf("%s %s %u %u %d %d %d %d\n", (*k)->name, row->isa, (unsigned)row->needs, (unsigned)(row->needs & ~cpu),
                   row->units != NULL, row->scratch != NULL, row->prepare != NULL, row->suits != NULL);
            if (!row->needs)
                break;
        }
    printf("\n");
}

static void run(const request *r, const pcx_impl *row, void *slots)
{
    const size_t bytes = row->scratch ? row->scratch(slots) : 0, units = row->units ? row->units(slots) : 1;
    void *scratch = fenced(bytes, 64);
    if (r->what == RUN) {
        row->run(slots, r->begin, r->end, scratch);
    } else {
        for (size_t x = 0; x < PARTS; x++)
            if (units * x / PARTS < units * (x + 1) / PARTS)
                row->run(slots, units * x / PARTS, units * (x + 1) / PARTS, scratch);
    }
    fenced_free(scratch, bytes, 64);
}

/* In the float mode of sessions: subnormal numbers count as zero. */
static void call(const request *r, const pcx_impl *row, uint64_t *slots)
{
    void *prepared = NULL;
    const size_t bytes = r->prepared && row->prepare ? row->prepared(slots) : 0;
    uint64_t mode = 0;
#if defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)1 << 24) : "memory");
#endif
    if (bytes) {
        prepared = fenced(bytes, 64);
        row->prepare(slots, prepared);
        slots[r->prepared - 1] = (uint64_t)(uintptr_t)prepared;
    }
    run(r, row, slots);
    if (prepared)
        fenced_free(prepared, bytes, 64);
#if defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory");
#endif
    (void)mode;
}

static uint64_t answer(const request *r, const pcx_impl *row, uint64_t *slots)
{
    switch (r->what) {
    case UNITS: return row->units ? row->units(slots) : 1;
    case SCRATCH: return row->scratch ? row->scratch(slots) : 0;
    case SUITS: return row->suits ? (uint64_t)row->suits(slots) : 1;
    case RUN: run(r, row, slots); return 0;
    case CALL: call(r, row, slots); return 0;
    default: die("an unknown request"); return 0;
    }
}

int main(void)
{
    static uint64_t slots[SLOTS_MAX];
    static array arrays[SLOTS_MAX];
    static void *at[SLOTS_MAX];
    request r;
    page = (size_t)sysconf(_SC_PAGESIZE);
    for (tell_rows(), fflush(stdout);; fflush(stdout)) {
        get(&r, sizeof r);
        if (r.slots > SLOTS_MAX || r.arrays > r.slots)
            die("too many slots");
        get(slots, r.slots * sizeof *slots);
        get(arrays, r.arrays * sizeof *arrays);
        for (size_t i = 0; i < r.arrays; i++) {
            if (!arrays[i].same)
                get(at[i] = fenced(arrays[i].bytes, 1), arrays[i].bytes);
            slots[arrays[i].slot] = arrays[i].same ? slots[arrays[i].same - 1] : (uint64_t)(uintptr_t)at[i];
        }
        const uint64_t value = answer(&r, pcx_kernels()[r.kernel]->impls + r.row, slots);
        put(&value, sizeof value);
        for (size_t i = 0; i < r.arrays; i++)
            if (arrays[i].written)
                put((void *)(uintptr_t)slots[arrays[i].slot], arrays[i].bytes);
        for (size_t i = 0; i < r.arrays; i++)
            if (!arrays[i].same)
                fenced_free(at[i], arrays[i].bytes, 1);
    }
}
