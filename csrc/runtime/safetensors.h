/* safetensors.h - the bytes of a safetensors file -> its tensors, its metadata and the graph's text. */
#ifndef PCX_SAFETENSORS_H
#define PCX_SAFETENSORS_H

#include "plan.h"

/* Read plan->file, plan->bytes: fills `header` and `metadata` of the plan, and `source`, kept as long as the plan. */
int safetensors_read(pcx_plan *plan, plan_source *source, const reason *why);

#endif
