/* plan_builder.h - the state while a graph is read: what plan_graph.c and plan_step.c write into. */
#ifndef PCX_PLAN_BUILDER_H
#define PCX_PLAN_BUILDER_H

#include "plan_coverage.h"
#include "plan.h"

typedef struct {
    const pcx_kernel *kernel;
    contract contract;
} kernel_row;

/* A constant array of the graph. */
typedef struct {
    const pcx_tensor *tensor;
    const unsigned char *data; /* aligned to 64 bytes */
    int own;                   /* it is a copy: nobody changes it after it was checked */
} constant;

typedef struct prepared prepared;

typedef struct {
    pcx_plan *plan;
    const reason *why;
    const json *graph;
    uint32_t cpu; /* the bundles that implementations may need */
    kernel_row *kernels;
    size_t kernel_count;
    constant *constants;
    size_t constant_count;
    prepared *made[256];

    coverage arena, *outputs; /* of the program that is being read */
    size_t effort;            /* see plan_coverage.h */

    program *program; /* what is being read, for messages and look-ups */
    size_t step;
    const char *kernel;
    span slot;
} builder;

/* Refuse, saying where: program, step, kernel, slot. PCX_BAD_PLAN. */
int builder_refuse(const builder *b, const char *format, ...) PCX_PRINTF(2, 3);

#endif
