/*
 * pycompress.h - libpycompress: run compressed neural networks, from plan files, without Python.
 *
 * A plan file (*.plan.safetensors) is made once, in Python: pycompress.compile(model).save(path).
 *
 *     #include <pycompress.h>
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *
 *     int main(void)
 *     {
 *         char why[256];
 *         pcx_plan *plan;
 *         if (pcx_plan_load("net.plan.safetensors", pcx_cpu(), &plan, why, sizeof why)) {
 *             fprintf(stderr, "%s\n", why);
 *             return 1;
 *         }
 *         const pcx_port *x = pcx_plan_input(plan, 0, 0), *y = pcx_plan_output(plan, 0, 0); // of program 0
 *         void *image = calloc(1, x->bytes), *scores = malloc(y->bytes); // aligned, as malloc's memory is
 *         pcx_session *session = pcx_session_new(plan, pcx_cores());
 *         const void *const inputs[] = { image };
 *         void *const outputs[] = { scores };
 *         if (!image || !scores || !session || pcx_session_run(session, 0, inputs, outputs, NULL))
 *             return 1;
 *         printf("%s[0] = %f\n", y->name, ((float *)scores)[0]); // y->dtype == PCX_F32
 *         pcx_session_free(session);
 *         pcx_plan_free(plan);
 *         free(image);
 *         free(scores);
 *         return 0;
 *     }
 *
 * Compile with `cc main.c $(pkg-config --cflags --libs pycompress)`, or in CMake find_package(pycompress) and
 * target_link_libraries(main pycompress::pycompress).  examples/run_plan.c is a whole program.
 *
 * Rules for all functions here:
 *   - No function prints, aborts, raises a signal, or reads the environment.
 *   - Pointers must not be NULL unless it says so.  Functions named *_free take NULL.
 *   - Functions may be called from any thread; two calls on one object at the same time are allowed where it says so.
 *   - Strings are UTF-8 and end with a NUL.
 *
 * Between the two markers stands plain C that cffi reads as well as the compiler.
 */
#ifndef PYCOMPRESS_H
#define PYCOMPRESS_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; pcx_version() is that of the library. */
#define PCX_VERSION_MAJOR 0
#define PCX_VERSION_MINOR 1
#define PCX_VERSION_PATCH 0
#define PCX_VERSION "0.1.0"
#define PCX_VERSION_NUMBER (PCX_VERSION_MAJOR * 10000 + PCX_VERSION_MINOR * 100 + PCX_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/* begin cdef */

/* The version of the library, "0.1.0"; static.  Versions with the same first two numbers are compatible. */
const char *pcx_version(void);

/* What functions that can fail return. */
enum { PCX_OK = 0, PCX_NO_MEMORY = 1, PCX_BAD_PLAN = 2, PCX_IO = 3, PCX_BAD_ARGUMENT = 4, PCX_STOPPED = 5 };

/* pcx_session_run's code where step i, the first of such steps, met what it cannot do is PCX_FAILED_STEP + i. */
enum { PCX_FAILED_STEP = 1 << 20 };

/* ---- the CPU: bundles of instruction sets, not CPUID bits ---- */
enum {
    PCX_AVX2 = 1,       /* AVX2 + FMA + F16C */
    PCX_AVXVNNI = 2,    /* 256-bit VNNI, encoded as AVX is */
    PCX_AVX512 = 4,     /* AVX-512 F, BW, DQ, VL */
    PCX_AVX512VNNI = 8, /* the next four only where there is PCX_AVX512 */
    PCX_AVX512VBMI = 16,
    PCX_AVX512BF16 = 32,
    PCX_AMXINT8 = 64,   /* AMX tiles: products of int8, */
    PCX_AMXBF16 = 128,  /* and of bfloat16 */
    PCX_NEON = 256,     /* what every AArch64 CPU has */
    PCX_DOTPROD = 512,  /* sdot, udot */
    PCX_I8MM = 1024,    /* usdot, usmmla */
    PCX_ARMBF16 = 2048     /* bfdot, bfmmla */
};

/* The bundles of this CPU that the operating system supports and this library knows.  Cannot fail. */
uint32_t pcx_cpu(void);

/*
 * Whether this process may use the bundles `needs`, all of them pcx_cpu's.  Linux gives tiles to a process that asks,
 * which this function does where `needs` holds a bundle of AMX: all threads, those that exist included, may use tiles from
 * then on.  The system refuses where a thread has an alternate signal stack too small for the tiles' state, and later
 * refuses such stacks.  pcx_select and the functions that open plans call it before they choose AMX, and only then.
 */
int pcx_cpu_permit(uint32_t needs);

/* How many cores affinity and the cgroup's quota allow this process; at least 1. */
size_t pcx_cores(void);

/* ---- element types ---- */
enum {
    PCX_U8 = 1, PCX_I8 = 2, PCX_I32 = 3, PCX_F32 = 4, PCX_I64 = 5, PCX_BOOL = 6,
    PCX_F16 = 7, PCX_F64 = 8, PCX_I16 = 9, PCX_U16 = 10, PCX_U32 = 11, PCX_U64 = 12,
    PCX_BF16 = 13
};

/* Bytes of one element; 0 for an unknown type. */
size_t pcx_dtype_bytes(size_t dtype);

/* ---- plans: immutable once opened; any number of threads may ask them and any number of sessions run them ---- */
typedef struct pcx_plan pcx_plan;
typedef struct pcx_kernel pcx_kernel; /* below */

/* An input or output of a program: a dense array, last dimension innermost.  Lives as long as its plan. */
typedef struct {
    const char *name;
    size_t dtype; /* PCX_U8 ... */
    size_t rank;
    const size_t *shape; /* [rank] */
    size_t bytes;
} pcx_port;

/*
 * Open a plan.  All of it is checked before this returns: every slot of every step against its kernel's contract, so
 * that running it, whatever the file says, reads and writes its own memory only.
 *
 *   cpu   which bundles kernels may use: pcx_cpu(), or fewer of its bits; 0: portable C alone
 *   plan  receives the plan, which pcx_plan_free releases, or NULL on failure
 *   why   receives, on failure, one line that says what is wrong and where, cut to why_bytes; NULL: not wanted
 *
 * PCX_OK, PCX_NO_MEMORY, PCX_BAD_PLAN (not a plan, damaged, made for other kernels) or PCX_IO (no such file, not
 * readable).
 *
 * pcx_plan_load reads the file `path`, or maps it if it is larger than 4 MiB: such a file must be neither shortened nor
 * changed in place while the plan lives.  (To replace one, write another and rename it.)
 */
int pcx_plan_load(const char *path, uint32_t cpu, pcx_plan **plan, char *why, size_t why_bytes);

/* The same from a file's content in memory, which must stay there, unchanged, until the plan is freed. */
int pcx_plan_open(const void *data, size_t bytes, uint32_t cpu, pcx_plan **plan, char *why, size_t why_bytes);

/* A named constant array, for pcx_plan_build. */
typedef struct {
    const char *name;
    size_t dtype; /* PCX_U8 ... */
    size_t rank;
    const size_t *shape; /* [rank] */
    const void *data;    /* copied unless aligned to 64 bytes */
    size_t bytes;
} pcx_tensor;

/*
 * The same from a graph as JSON text, `length` bytes (its form: runtime/plan_graph.c), and the `count` arrays that it
 * names.  Text and names are not needed any more when this returns; the arrays' data must stay, unchanged, until the
 * plan is freed.
 */
int pcx_plan_build(const char *json, size_t length, const pcx_tensor *tensors, size_t count, uint32_t cpu,
                   pcx_plan **plan, char *why, size_t why_bytes);

/*
 * The same for plans with operators of the caller's: pointers to kernels, ended by NULL, which must live, unchanged, as
 * long as the plan (NULL: none).  A plan names them with their versions, as it names the library's own, and is refused
 * where they are not among `custom`; every step is checked against its kernel's contract.  See pcx_kernel.
 */
int pcx_plan_load_custom(const char *path, uint32_t cpu, const pcx_kernel *const *custom, pcx_plan **plan, char *why,
                         size_t why_bytes);
int pcx_plan_open_custom(const void *data, size_t bytes, uint32_t cpu, const pcx_kernel *const *custom, pcx_plan **plan,
                         char *why, size_t why_bytes);
int pcx_plan_build_custom(const char *json, size_t length, const pcx_tensor *tensors, size_t count, uint32_t cpu,
                          const pcx_kernel *const *custom, pcx_plan **plan, char *why, size_t why_bytes);

/* Release a plan and all that it handed out.  Its sessions must have been freed before. */
void pcx_plan_free(pcx_plan *plan);

/* The file's bytes and how many; NULL and 0 of a plan from pcx_plan_build.  They live as long as the plan. */
const void *pcx_plan_bytes(const pcx_plan *plan, size_t *bytes);

/* The metadata string `key` and its length, or NULL and 0 where there is none.  It lives as long as the plan. */
const char *pcx_plan_metadata(const pcx_plan *plan, const char *key, size_t *length);

/*
 * A plan holds one program for each set of input shapes, numbered from 0.  Of a program or index that does not exist,
 * numbers are 0 and pointers are NULL.
 */
size_t pcx_plan_programs(const pcx_plan *plan);
size_t pcx_plan_inputs(const pcx_plan *plan, size_t program);
size_t pcx_plan_outputs(const pcx_plan *plan, size_t program);
const pcx_port *pcx_plan_input(const pcx_plan *plan, size_t program, size_t index);
const pcx_port *pcx_plan_output(const pcx_plan *plan, size_t program, size_t index);

/* Bytes of memory that a run needs for what lies between the steps. */
size_t pcx_plan_arena(const pcx_plan *plan, size_t program);

/* The steps of a program: how many, and of one the kernel's name and the implementation chosen ("avx2"). */
size_t pcx_plan_steps(const pcx_plan *plan, size_t program);
const char *pcx_plan_step_kernel(const pcx_plan *plan, size_t program, size_t step);
const char *pcx_plan_step_isa(const pcx_plan *plan, size_t program, size_t step);

/* ---- sessions: a plan, its threads, and memory for as many runs as go on at once ---- */
typedef struct pcx_session pcx_session;

/*
 * A session for `plan`, which must outlive it, on `threads` threads, the caller of a run counted in (0 counts as 1).
 * Threads start at the first run and sleep between runs, with all signals blocked.  NULL when out of memory.
 */
pcx_session *pcx_session_new(const pcx_plan *plan, size_t threads);

/* Stop its threads and release it.  No run may be in progress. */
void pcx_session_free(pcx_session *session);

/*
 * Run one program.
 *
 *   inputs   [pcx_plan_inputs] pointers to the inputs' bytes, each aligned to its elements; they are only read
 *   outputs  [pcx_plan_outputs] likewise; they overlap neither each other nor the inputs
 *   seconds  NULL, or [2 * pcx_plan_steps] numbers that receive start and end of each step, counted from the start of
 *            the run.  Where a program takes its inputs part by part, a step's end is its start for the first part and
 *            its time for all parts.
 *
 * Several threads may run one session at once: with one thread each they run side by side, with more they take turns.
 * The first run, and the first of more at once than before, allocates memory; others do not.  After fork() the child
 * may go on running the session.  The same inputs give the same bytes for any number of threads.
 *
 * Float arithmetic flushes subnormal numbers to zero, on x86 and Arm: a number nearer to 0 than 2^-126 counts as 0, as an
 * input of an operation and as its result (copies keep it).  Of integers with a float scale no byte depends on that.  On
 * the calling thread the mode is set for the run; when it returns, the thread's mode, rounding and flags are as before.
 *
 * Whatever a plan does, a run sees no data of another: what steps read or leave without writing it is zero.
 *
 * PCX_OK, PCX_NO_MEMORY, PCX_BAD_ARGUMENT: no such program, or a pointer NULL or not aligned; or PCX_FAILED_STEP + i: step i
 * met values that it cannot work with, an index outside of its array, say; outputs are written, and mean nothing.
 */
int pcx_session_run(pcx_session *session, size_t program, const void *const *inputs, void *const *outputs,
                    double *seconds);

/* Asked whether a run shall end: 0 to go on. */
typedef int pcx_ask_fn(void *context);

/*
 * As pcx_session_run, and about every 50 ms of the run `ask` is called with
 * `context`, on this thread, in its own float mode.  If it answers anything but 0, no further work
 * begins, what has begun is finished, and PCX_STOPPED is returned; the outputs then hold parts of the results.  `ask` must
 * not use this session.
 */
int pcx_session_run_asking(pcx_session *session, size_t program, const void *const *inputs, void *const *outputs,
                           double *seconds, pcx_ask_fn *ask, void *context);

/* What is told of one step: its number, kernel and implementation, start and end in seconds from the start of the run. */
typedef void pcx_profile_fn(void *context, size_t step, const char *kernel, const char *isa, double start, double end);

/*
 * As pcx_session_run; then `tell` is called for each step in order, on this thread, with `context`.  Its times are those
 * that pcx_session_run writes to `seconds`; it may call any function here but pcx_session_free of this session.
 */
int pcx_session_profile(pcx_session *session, size_t program, const void *const *inputs, void *const *outputs,
                        pcx_profile_fn *tell, void *context);

/* ---- kernels, for those who call them without a plan ---- */
typedef size_t pcx_size_fn(const void *args);
typedef void pcx_run_fn(const void *args, size_t begin, size_t end, void *scratch);
typedef void pcx_prepare_fn(const void *args, void *prepared);
typedef int pcx_suits_fn(const void *args);

/*
 * One implementation.  `run` is a pure function: it allocates nothing and cannot fail, for its arguments fulfil the
 * contract, and any thread may run any part of the units.  `units`, `scratch` and `suits` look at sizes, and at
 * pointers only for being NULL.  `prepare` and `prepared` read the array `w`, those whose values are bounded, and the
 * sizes in the dimensions of these, nothing else: steps with the same weights share the result.  Where `w` is not
 * constant, args->prepared stays NULL, which every implementation must take.
 */
typedef struct {
    const char *isa;         /* "avx2" */
    uint32_t needs;          /* PCX_* bits that must be set; 0 ends the table */
    pcx_size_fn *units;      /* how many units of work `args` holds; NULL: one */
    pcx_run_fn *run;         /* do units [begin, end) */
    pcx_size_fn *scratch;    /* bytes each thread needs, 64-byte aligned; NULL: none */
    pcx_size_fn *prepared;   /* bytes derived from the weights, once, before the first run; NULL: none */
    pcx_prepare_fn *prepare; /* fill them; the executor puts them into args->prepared */
    pcx_suits_fn *suits;     /* whether it is the best row for such arguments where it can run; NULL: for all */
} pcx_impl;

/*
 * A kernel: the library's own, or an operator of the caller's for plans, which is named "domain::Name" and has at least one
 * row, of which the last needs nothing.
 *
 * `contract` lists the slots of the argument struct in order; every slot is 8 bytes.
 *   m                     a size
 *   a:f32[m:lda,k]        a pointer to m rows of k floats, lda floats apart
 *   bias?:f32[n]          may be NULL
 *   out:{u8,f32}ot[m,n]   element type by the size slot ot, one of those listed; also of several arrays
 *   index:i32[n]<rows     every value is in [0, rows); such data must be constant
 *   prepared:prepared     filled by the executor
 *   fault:fault           NULL, or an int32_t: a number that is not 0, stored there atomically,
 *                         makes the run fail
 * Arrays whose names begin with "out" are written.
 * A dimension without a stride is as far apart as the one after it is long.  After ` where `: comparisons that must
 * hold, separated by commas.
 */
struct pcx_kernel {
    const char *name;
    size_t version; /* of the packed layout and the meaning; a plan names it */
    const char *contract;
    const pcx_impl *impls; /* best first, "scalar" last */
};

/* All kernels, ended by NULL; one by name, or NULL.  They are static and never change. */
const pcx_kernel *const *pcx_kernels(void);
const pcx_kernel *pcx_kernel_named(const char *name);

/*
 * The kernel's first implementation whose needs `cpu` meets, that pcx_cpu_permit permits, and that suits `args`, the
 * kernel's struct (NULL: any sizes); never NULL.
 */
const pcx_impl *pcx_select(const pcx_kernel *kernel, uint32_t cpu, const void *args);

/*
 * A pool of `threads` threads, the caller counted in (0 counts as 1); NULL when out of memory.  Workers start at the
 * first call and sleep between calls; after fork() the child's start anew.  One call at a time; a second caller waits.
 * pcx_threads_free stops them: no call may be in progress.  (pcx_pool is the pooling kernel.)
 */
typedef struct pcx_threads pcx_threads;
pcx_threads *pcx_threads_new(size_t threads);
void pcx_threads_free(pcx_threads *pool);
size_t pcx_threads_count(const pcx_threads *pool);

/*
 * One call of `impl`, one of `kernel`'s, on `pool` (NULL: on this thread alone).  `args` is the kernel's struct, whose
 * values the caller has checked against the contract: nothing is checked here.  A NULL `prepared` slot is filled for
 * the call and NULL again after it, so that calls at the same time need structs of their own.  Subnormal numbers count as
 * zero, as in pcx_session_run; whoever calls impl->run itself runs it in the thread's own mode.  PCX_OK or PCX_NO_MEMORY.
 */
int pcx_call(pcx_threads *pool, const pcx_kernel *kernel, const pcx_impl *impl, void *args);

/* An array of pcx_call_arrays: its slot in the kernel's struct, its bytes, what divides its address, whether it is written. */
typedef struct {
    size_t slot, bytes, align, written;
} pcx_array;

/*
 * As pcx_call, for callers that have checked sizes against the contract once and call again with other arrays of these
 * sizes: `count` slots (at most 64), in a copy of which the slot of each of the `n` arrays becomes its address in `data`
 * (NULL: left out), by the implementation that pcx_select gives for `cpu`.  PCX_BAD_ARGUMENT, and nothing is done: an
 * address is not aligned, or a written array overlaps another.
 */
int pcx_call_arrays(pcx_threads *pool, const pcx_kernel *kernel, uint32_t cpu, const uint64_t *slots, size_t count,
                    const pcx_array *arrays, size_t n, void *const *data);

/*
 * Whether the CSR arrays of a matrix n x k are what csrmm may read: rows[n+1] begins with 0, never falls and ends at
 * nnz at most; every index[i], i < rows[n], is in [0, k).  Both are of `type`, PCX_I32 or PCX_I64 (to be narrowed);
 * `index` holds at least nnz numbers.  n, k and nnz must fit an int32.  PCX_OK or PCX_BAD_ARGUMENT.
 */
int pcx_csr_check(size_t n, size_t k, size_t nnz, size_t type, const void *rows, const void *index);

/* end cdef */

#include "pycompress_kernels.h" /* the kernels' list and argument structs */

#define X(name) extern const pcx_kernel pcx_##name;
PCX_KERNELS(X)
#undef X

#ifdef __cplusplus
}
#endif
#endif
