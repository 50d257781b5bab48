/* checks_stop.h - part of checks.c: a run that takes seconds, and one that is told to end. */

typedef struct {
    size_t n;
    float *out;
} slow_args;
static atomic_int slow; /* whether it is */
static size_t slow_units(const void *args) { return ((const slow_args *)args)->n; }
static void slow_run(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    for (size_t i = begin; i < end; i++) {
        if (i % 128 == 0 && atomic_load(&slow))
            usleep(1000);
        ((const slow_args *)args)->out[i] = 1;
    }
}
static const pcx_impl slow_impls[] = { { "scalar", 0, slow_units, slow_run, NULL, NULL, NULL, NULL } };
static const pcx_kernel slow_kernel = { "checks::Slow", 1, "n out:f32[n]", slow_impls };

static int says(void *answer)
{
    ++((int *)answer)[1];
    return *(int *)answer;
}

static size_t ones(const float *out, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += out[i] == 1;
    return found;
}

static void stops(void)
{
    enum { N = 300000 };
    static const char graph[] = "{\"format\": 1, \"kernels\": [[\"checks::Slow\", 1]], \"tensors\": [], \"programs\": "
                                "[{\"inputs\": [], \"outputs\": [{\"name\": \"y\", \"dtype\": \"f32\", \"shape\": "
                                "[300000]}], \"arena\": 0, \"steps\": [[0, 300000, [3, 0, 0]]]}]}";
    static const pcx_kernel *const custom[] = { &slow_kernel, NULL };
    pcx_plan *plan;
    must(!pcx_plan_build_custom(graph, sizeof graph - 1, NULL, 0, 0, custom, &plan, NULL, 0), "no plan");
    float *out = calloc(N, sizeof *out);
    void *outputs[] = { out };
    for (size_t size = 1; size <= 3; size++) {
        pcx_session *session = pcx_session_new(plan, size);
        int answer[2] = { 1, 0 }; /* what `ask` says, and how often it was asked */
        atomic_store(&slow, 1);
        memset(out, 0, N * sizeof *out);
        must(pcx_session_run_asking(session, 0, NULL, outputs, NULL, says, answer) == PCX_STOPPED, "not stopped");
        must(answer[1] == 1 && ones(out, N) < N, "asked again, or everything was done all the same");
        *answer = 0;
        atomic_store(&slow, 0);
        must(!pcx_session_run_asking(session, 0, NULL, outputs, NULL, says, answer), "the run after that failed");
        must(ones(out, N) == N, "the run after that is not whole");
        pcx_session_free(session);
    }
    free(out);
    pcx_plan_free(plan);
    printf("stopped\n");
}
