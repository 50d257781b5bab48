/* pool_avx2.c - 32, then 8 channels at a time; the operations and their order are the scalar ones. */
#include "pool.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

enum { LANES = 8, WIDE = 4 };

/* The sums of nv vectors of channels, from c on. */
PCX_INLINE void pool_avx2_sums(const pool_window *w, size_t c, int nv, float divisor, float *out)
{
    __m256 all[WIDE], row[WIDE];
    PCX_UNROLL for (int v = 0; v < nv; v++)
        all[v] = _mm256_setzero_ps();
    for (size_t y = 0; y < w->rows; y++) {
        const float *x = w->x + y * w->row_step + c;
        PCX_UNROLL for (int v = 0; v < nv; v++)
            row[v] = _mm256_loadu_ps(x + v * LANES);
        for (size_t i = 1; i < w->columns; i++) {
            x += w->column_step;
            PCX_UNROLL for (int v = 0; v < nv; v++)
                row[v] = _mm256_add_ps(row[v], _mm256_loadu_ps(x + v * LANES));
        }
        PCX_UNROLL for (int v = 0; v < nv; v++)
            all[v] = _mm256_add_ps(all[v], row[v]);
    }
    PCX_UNROLL for (int v = 0; v < nv; v++)
        _mm256_storeu_ps(out + c + v * LANES, _mm256_div_ps(all[v], _mm256_set1_ps(divisor)));
}

/* The max: vmaxps may drop a NaN, so NaNs are collected separately, two cells per comparison. */
PCX_INLINE void pool_avx2_max(const pool_window *w, size_t c, int nv, float *out)
{
    __m256 top[WIDE], nan[WIDE];
    PCX_UNROLL for (int v = 0; v < nv; v++) {
        top[v] = _mm256_set1_ps(-INFINITY);
        nan[v] = _mm256_setzero_ps();
    }
    for (size_t y = 0; y < w->rows; y++) {
        const float *x = w->x + y * w->row_step + c;
        for (size_t i = 0; i < w->columns; i += 2) {
            const float *next = i + 1 < w->columns ? x + w->column_step : x;
            PCX_UNROLL for (int v = 0; v < nv; v++) {
                const __m256 a = _mm256_loadu_ps(x + v * LANES), b = _mm256_loadu_ps(next + v * LANES);
                top[v] = _mm256_max_ps(_mm256_max_ps(a, b), top[v]);
                nan[v] = _mm256_or_ps(nan[v], _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
            }
            x = next + w->column_step;
        }
    }
    PCX_UNROLL for (int v = 0; v < nv; v++)
        _mm256_storeu_ps(out + c + v * LANES, _mm256_blendv_ps(top[v], _mm256_set1_ps(NAN), nan[v]));
}

PCX_INLINE void pool_avx2_vectors(const pool_window *w, size_t c, int nv, int max, float divisor, float *out)
{
    if (max)
        pool_avx2_max(w, c, nv, out);
    else
        pool_avx2_sums(w, c, nv, divisor, out);
}

PCX_INLINE void pool_avx2_channels(const pool_window *w, size_t c, size_t channels, int max, float divisor, float *out)
{
    for (; c + LANES * WIDE <= channels; c += LANES * WIDE)
        pool_avx2_vectors(w, c, WIDE, max, divisor, out);
    for (; c + LANES <= channels; c += LANES)
        pool_avx2_vectors(w, c, 1, max, divisor, out);
    if (c < channels && channels >= LANES) /* some channels a second time, with the same results */
        pool_avx2_vectors(w, channels - LANES, 1, max, divisor, out);
    else if (c < channels)
        pool_channels(w, c, channels, max, divisor, out);
}

void pool_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    pool_run(args, begin, end, pool_avx2_channels);
}

PCX_TARGET_END
#endif
