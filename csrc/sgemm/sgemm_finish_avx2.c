/* sgemm_finish_avx2.c - what tiles call to finish sums that lie in memory: one copy for all kernels of them. */
#include "sgemm_finish_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

void sgemm_finish_copy(float *to, const float *x, size_t count, size_t width)
{
    for (size_t j = 0; j < width; j += LANES)
        _mm256_storeu_ps(to + j, j < count ? sgemm_finish_load(x + j, count - j) : _mm256_setzero_ps());
}

/* Sums of activations that need no bounds, all columns, to the outputs. */
PCX_INLINE void sgemm_finish_avx2_store(const sgemm_rows *r, size_t first, size_t column, const float *sum, size_t mr,
                                   size_t width)
{
    for (size_t i = 0; i < mr; i++)
        for (size_t j = 0; j < width; j += LANES, sum += LANES)
            _mm256_storeu_ps(r->out[first + i] + column + j, _mm256_loadu_ps(sum));
}

void sgemm_finish_slowly(const sgemm_rows *r, size_t first, const sgemm_target *to, size_t column, float *sum,
                         size_t mr, size_t width)
{
    const pcx_epilogue *tail = to->tail;
    const size_t columns = min_size(width, to->n - column);
    const size_t whole = columns / LANES * LANES, rest = columns - whole;
    for (size_t i = 0; tail->residual && i < mr; i++) {
        const float *const residual = r->residual[first + i] + column;
        float *const at = sum + i * width;
        for (size_t j = 0; j < whole; j += LANES)
            _mm256_storeu_ps(at + j, _mm256_add_ps(_mm256_loadu_ps(at + j), _mm256_loadu_ps(residual + j)));
        if (rest)
            _mm256_storeu_ps(at + whole, _mm256_add_ps(_mm256_loadu_ps(at + whole),
                                                       sgemm_finish_load(residual + whole, rest)));
    }
    if (tail->act > PCX_ACT_CLIP) {
        act_avx2_row(sum, sum, mr * width, tail->act, tail->act_params);
        if (columns == width) {
            if (width == 2 * LANES)
                sgemm_finish_avx2_store(r, first, column, sum, mr, 2 * LANES);
            else
                sgemm_finish_avx2_store(r, first, column, sum, mr, width);
            return;
        }
    }
    float bounds[2];
    act_bounds(tail->act, tail->act_params, bounds, bounds + 1);
    const __m256 low = _mm256_broadcast_ss(bounds), high = _mm256_broadcast_ss(bounds + 1);
    for (size_t i = 0; i < mr; i++, sum += width) {
        float *out = r->out[first + i] + column;
        for (size_t j = 0; j < whole; j += LANES)
            _mm256_storeu_ps(out + j, _mm256_min_ps(high, _mm256_max_ps(low, _mm256_loadu_ps(sum + j))));
        if (rest)
            sgemm_finish_put(out + whole, _mm256_min_ps(high, _mm256_max_ps(low, _mm256_loadu_ps(sum + whole))), rest);
    }
}

PCX_TARGET_END
#endif
