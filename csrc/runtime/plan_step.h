/* plan_step.h - one step of a graph, checked against its kernel's contract. */
#ifndef PCX_PLAN_STEP_H
#define PCX_PLAN_STEP_H

#include "plan_builder.h"

/* Node `at` -> step b->step of b->program, which has space for its slots and patches. */
int plan_step_read(builder *b, size_t at);

#endif
