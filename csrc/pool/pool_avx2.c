/* pool_avx2.c - 32, then 8 channels at a time; the operations and their order are the scalar ones. */
#include "pool.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

enum { LANES = 8, WIDE = 4 };

/* nv vectors of channels, from c on. */
PCX_INLINE void pool_avx2_vectors(const pool_window *w, size_t c, int nv, int max, float divisor, float *out)
{
    __m256 all[WIDE], row[WIDE];
    PCX_UNROLL for (int v = 0; v < nv; v++)
        all[v] = max ? _mm256_set1_ps(-INFINITY) : _mm256_setzero_ps();
    for (size_t y = 0; y < w->rows; y++) {
        const float *x = w->x + y * w->row_step + c;
        PCX_UNROLL for (int v = 0; v < nv; v++)
            row[v] = max ? _mm256_max_ps(_mm256_loadu_ps(x + v * LANES), all[v]) : _mm256_loadu_ps(x + v * LANES);
        for (size_t i = 1; i < w->columns; i++) {
            x += w->column_step;
            PCX_UNROLL for (int v = 0; v < nv; v++) {
                const __m256 more = _mm256_loadu_ps(x + v * LANES);
                row[v] = max ? _mm256_max_ps(more, row[v]) : _mm256_add_ps(row[v], more);
            }
        }
        PCX_UNROLL for (int v = 0; v < nv; v++)
            all[v] = max ? _mm256_max_ps(row[v], all[v]) : _mm256_add_ps(all[v], row[v]);
    }
    PCX_UNROLL for (int v = 0; v < nv; v++)
        _mm256_storeu_ps(out + c + v * LANES, max ? all[v] : _mm256_div_ps(all[v], _mm256_set1_ps(divisor)));
}

PCX_INLINE void pool_avx2_channels(const pool_window *w, size_t c, size_t channels, int max, float divisor, float *out)
{
    for (; c + LANES * WIDE <= channels; c += LANES * WIDE)
        pool_avx2_vectors(w, c, WIDE, max, divisor, out);
    for (; c + LANES <= channels; c += LANES)
        pool_avx2_vectors(w, c, 1, max, divisor, out);
    if (c < channels)
        pool_channels(w, c, channels, max, divisor, out);
}

void pool_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    pool_run(args, begin, end, pool_avx2_channels);
}

PCX_TARGET_END
#endif
