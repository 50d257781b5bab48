/* qlowrank.h - what the qlowrank files share.  A unit is a block of rows through both products. */
#ifndef PCX_QLOWRANK_H
#define PCX_QLOWRANK_H

#include "../lowrank/lowrank.h"
#include "../qgemm/qgemm.h"

enum { QLOWRANK_STEP = 32 /* bytes of a step of v: 16 columns, 2 of r */, QLOWRANK_MOST = 32767 };

PCX_HIDDEN pcx_run_fn qlowrank_avx2;
PCX_HIDDEN pcx_size_fn qlowrank_scratch_avx2, qlowrank_prepared;
PCX_HIDDEN pcx_prepare_fn qlowrank_prepare;

#endif
