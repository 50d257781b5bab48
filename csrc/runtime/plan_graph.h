/* plan_graph.h - a graph's JSON text and its tensors -> the programs of a plan. */
#ifndef PCX_PLAN_GRAPH_H
#define PCX_PLAN_GRAPH_H

#include "plan.h"

/* Fill `programs`, `arena` and `scratch`, with the implementations that `cpu` allows. */
int plan_graph_read(pcx_plan *plan, const plan_source *source, uint32_t cpu, const reason *why);

#endif
