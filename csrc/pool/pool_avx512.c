/* pool_avx512.c - 64 channels at a time, then up to 16; the operations and their order are the scalar ones. */
#include "pool.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET(PCX_TARGET_AVX512)

enum { LANES = 16, WIDE = 4 };

/* The sums of nv vectors of channels, of each those of `some`, from c on. */
PCX_INLINE void pool_avx512_sums(const pool_window *w, size_t c, int nv, __mmask16 some, float divisor, float *out)
{
    __m512 all[WIDE], row[WIDE];
    PCX_UNROLL for (int v = 0; v < nv; v++)
        all[v] = _mm512_setzero_ps();
    for (size_t y = 0; y < w->rows; y++) {
        const float *x = w->x + y * w->row_step + c;
        PCX_UNROLL for (int v = 0; v < nv; v++)
            row[v] = _mm512_maskz_loadu_ps(some, x + v * LANES);
        for (size_t i = 1; i < w->columns; i++) {
            x += w->column_step;
            PCX_UNROLL for (int v = 0; v < nv; v++)
                row[v] = _mm512_add_ps(row[v], _mm512_maskz_loadu_ps(some, x + v * LANES));
        }
        PCX_UNROLL for (int v = 0; v < nv; v++)
            all[v] = _mm512_add_ps(all[v], row[v]);
    }
    PCX_UNROLL for (int v = 0; v < nv; v++)
        _mm512_mask_storeu_ps(out + c + v * LANES, some, _mm512_div_ps(all[v], _mm512_set1_ps(divisor)));
}

/* The max: vmaxps may drop a NaN, so NaNs are collected separately, two cells per comparison. */
PCX_INLINE void pool_avx512_max(const pool_window *w, size_t c, int nv, __mmask16 some, float *out)
{
    __m512 top[WIDE];
    __mmask16 nan[WIDE];
    PCX_UNROLL for (int v = 0; v < nv; v++) {
        top[v] = _mm512_set1_ps(-INFINITY);
        nan[v] = 0;
    }
    for (size_t y = 0; y < w->rows; y++) {
        const float *x = w->x + y * w->row_step + c;
        for (size_t i = 0; i < w->columns; i += 2) {
            const float *next = i + 1 < w->columns ? x + w->column_step : x;
            PCX_UNROLL for (int v = 0; v < nv; v++) {
                const __m512 a = _mm512_maskz_loadu_ps(some, x + v * LANES);
                const __m512 b = _mm512_maskz_loadu_ps(some, next + v * LANES);
                top[v] = _mm512_max_ps(_mm512_max_ps(a, b), top[v]);
                nan[v] |= _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
            }
            x = next + w->column_step;
        }
    }
    PCX_UNROLL for (int v = 0; v < nv; v++)
        _mm512_mask_storeu_ps(out + c + v * LANES, some, _mm512_mask_mov_ps(top[v], nan[v], _mm512_set1_ps(NAN)));
}

PCX_INLINE void pool_avx512_vectors(const pool_window *w, size_t c, int nv, __mmask16 some, int max, float divisor,
                                    float *out)
{
    if (max)
        pool_avx512_max(w, c, nv, some, out);
    else
        pool_avx512_sums(w, c, nv, some, divisor, out);
}

PCX_INLINE void pool_avx512_channels(const pool_window *w, size_t c, size_t channels, int max, float divisor,
                                     float *out)
{
    for (; c + LANES * WIDE <= channels; c += LANES * WIDE)
        pool_avx512_vectors(w, c, WIDE, 0xffff, max, divisor, out);
    for (; c < channels; c += LANES) {
        const __mmask16 some = (__mmask16)(0xffff >> (LANES - min_size(LANES, channels - c)));
        pool_avx512_vectors(w, c, 1, some, max, divisor, out);
    }
}

void pool_avx512(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    pool_run(args, begin, end, pool_avx512_channels);
}

PCX_TARGET_END
#endif
