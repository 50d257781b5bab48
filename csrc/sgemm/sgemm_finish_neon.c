/* sgemm_finish_neon.c - what tiles call to finish sums that lie in memory: one copy for all kernels of them. */
#include "sgemm_tile_neon.h"

#if PCX_ARM64

void sgemm_neon_finish_slowly(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t column, float *sum,
                              size_t mr, size_t width)
{
    const pcx_epilogue *const tail = to->tail;
    const size_t columns = min_size(width, to->n - column);
    for (size_t i = 0; tail->residual && i < mr; i++)
        for (size_t j = 0; j < columns; j++)
            sum[i * width + j] += r->residual[first + i][column + j];
    act_loop_run(sum, sum, mr * width, tail->act, tail->act_params);
    for (size_t i = 0; i < mr; i++)
        memcpy(r->out[first + i] + column, sum + i * width, columns * sizeof *sum);
}

#endif
