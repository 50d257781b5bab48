/*
 * threads.cpp - one saved plan on several threads of a C++ program:
 *
 *     threads model.plan.safetensors THREADS RUNS
 *
 * Every thread runs the plan's first program on its own zeros, all of them through one session; their outputs must be the
 * same bytes.  Then one run is profiled.
 */
#include <pycompress.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Plan = std::unique_ptr<pcx_plan, decltype(&pcx_plan_free)>;
using Session = std::unique_ptr<pcx_session, decltype(&pcx_session_free)>;

Plan load(const char *path)
{
    char why[256];
    pcx_plan *plan = nullptr;
    if (pcx_plan_load(path, pcx_cpu(), &plan, why, sizeof why))
        throw std::runtime_error(why);
    return Plan(plan, pcx_plan_free);
}

/* Zeroed memory for one side of a program, and pointers to it; aligned, since it is made of the largest elements. */
struct Memory {
    std::vector<std::vector<uint64_t>> held;
    std::vector<void *> at;

    void add(const pcx_port *port)
    {
        held.emplace_back(port->bytes / 8 + 1);
        at.push_back(held.back().data());
    }
};

struct Run {
    Memory inputs, outputs;

    explicit Run(const pcx_plan *plan)
    {
        for (size_t i = 0; i < pcx_plan_inputs(plan, 0); i++)
            inputs.add(pcx_plan_input(plan, 0, i));
        for (size_t i = 0; i < pcx_plan_outputs(plan, 0); i++)
            outputs.add(pcx_plan_output(plan, 0, i));
    }

    const void *const *in() const { return inputs.at.data(); }
    void *const *out() { return outputs.at.data(); }
};

/* Called for each step; what `context` points to is ours. */
void tell(void *context, size_t step, const char *kernel, const char *isa, double start, double end)
{
    *static_cast<double *>(context) += end - start;
    std::printf("%4zu %-10s %-12s %8.1f us\n", step, kernel, isa, (end - start) * 1e6);
}

int go(int argc, char **argv)
{
    const int threads = argc == 4 ? std::atoi(argv[2]) : 0, runs = argc == 4 ? std::atoi(argv[3]) : 0;
    if (threads < 1 || runs < 1)
        throw std::runtime_error("usage: threads model.plan.safetensors THREADS RUNS");
    const Plan plan = load(argv[1]);
    /* A session of one thread runs as many callers side by side as there are; one of more would let them take turns. */
    const Session session(pcx_session_new(plan.get(), 1), pcx_session_free);
    if (!session)
        throw std::bad_alloc();

    std::vector<Run> each;
    each.reserve(static_cast<size_t>(threads));
    for (int t = 0; t < threads; t++)
        each.emplace_back(plan.get());
    std::vector<int> codes(each.size(), PCX_OK);
    std::vector<std::thread> callers;
    for (size_t t = 0; t < each.size(); t++)
        callers.emplace_back([&, t] {
            for (int i = 0; i < runs && codes[t] == PCX_OK; i++)
                codes[t] = pcx_session_run(session.get(), 0, each[t].in(), each[t].out(), nullptr);
        });
    for (std::thread &caller : callers)
        caller.join();
    for (size_t t = 0; t < each.size(); t++)
        if (codes[t] != PCX_OK || each[t].outputs.held != each[0].outputs.held)
            throw std::runtime_error("thread " + std::to_string(t) + " failed");
    std::printf("%d threads, %d runs each: the same bytes\n", threads, runs);

    double seconds = 0;
    if (pcx_session_profile(session.get(), 0, each[0].in(), each[0].out(), tell, &seconds))
        throw std::bad_alloc();
    std::printf("%zu steps, %.1f us\n", pcx_plan_steps(plan.get(), 0), seconds * 1e6);
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        return go(argc, argv);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "threads: %s\n", error.what());
        return 1;
    }
}
