/* arm_count_plan.c - runs a plan, for arm_count.py: arm_count_plan PLAN PCX_BITS RUNS, on one thread, its inputs all zero. */
#include <pycompress.h>

#include <stdio.h>
#include <stdlib.h>

enum { PORTS = 16 };

int main(int argc, char **argv)
{
    char why[256];
    pcx_plan *plan;
    if (argc != 4)
        return 2;
    if (pcx_plan_load(argv[1], pcx_cpu() & (uint32_t)strtoul(argv[2], NULL, 10), &plan, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    const void *in[PORTS];
    void *out[PORTS];
    if (pcx_plan_inputs(plan, 0) > PORTS || pcx_plan_outputs(plan, 0) > PORTS)
        return 2;
    for (size_t i = 0; i < pcx_plan_inputs(plan, 0); i++)
        in[i] = calloc(1, pcx_plan_input(plan, 0, i)->bytes);
    for (size_t i = 0; i < pcx_plan_outputs(plan, 0); i++)
        out[i] = calloc(1, pcx_plan_output(plan, 0, i)->bytes);
    pcx_session *session = pcx_session_new(plan, 1);
    for (unsigned long run = strtoul(argv[3], NULL, 10); run; run--)
        if (!session || pcx_session_run(session, 0, in, out, NULL))
            return 1;
    return 0;
}
