/*
 * csrmm_vector.h - one dense column of x: a vector of products at a time, whose numbers of x are loaded one by one,
 * since vgatherdps is slower (see csrmv_avx2.c).
 */
#ifndef PCX_CSRMM_VECTOR_H
#define PCX_CSRMM_VECTOR_H

#include "csrmm.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

/* The numbers of x at two columns, beside each other; one load for both columns. */
PCX_INLINE __m128 csrmm_pair_f32(const float *x, const int32_t *index)
{
    uint64_t at;
    memcpy(&at, index, sizeof at);
    return _mm_insert_ps(_mm_load_ss(x + (uint32_t)at), _mm_load_ss(x + (at >> 32)), 0x10);
}

PCX_INLINE __m128d csrmm_pair_f64(const double *x, const int32_t *index)
{
    uint64_t at;
    memcpy(&at, index, sizeof at);
    return _mm_loadh_pd(_mm_load_sd(x + (uint32_t)at), x + (at >> 32));
}

PCX_INLINE __m256 csrmm_picked_f32(const float *x, const int32_t *index)
{
    const __m128 low = _mm_movelh_ps(csrmm_pair_f32(x, index), csrmm_pair_f32(x, index + 2));
    return _mm256_set_m128(_mm_movelh_ps(csrmm_pair_f32(x, index + 4), csrmm_pair_f32(x, index + 6)), low);
}

PCX_INLINE __m256d csrmm_picked_f64(const double *x, const int32_t *index)
{
    return _mm256_set_m128d(csrmm_pair_f64(x, index + 2), csrmm_pair_f64(x, index));
}

PCX_INLINE __m256i csrmm_load_8(const int32_t *x) { return _mm256_loadu_si256((const __m256i *)(const void *)x); }

PCX_INLINE void csrmm_store_8(int32_t *to, __m256i x) { _mm256_storeu_si256((__m256i *)(void *)to, x); }

PCX_INLINE float csrmm_total_f32(__m256 v)
{
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

PCX_INLINE double csrmm_total_f64(__m256d v)
{
    const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}

/* out[r] of the rows [first, last). */
#define VECTOR_ROWS(type, real, vector, zero, load, add, fma) \
    static void csrmm_vector_##type(const pcx_csrmm_args *p, size_t first, size_t last) \
    { \
        enum { LANES = sizeof(vector) / sizeof(real), AHEAD = 2048 }; /* bytes to fetch, as csrmv does */ \
        const int32_t *index = p->index; \
        const real *w = p->w, *x = p->x; \
        const __m256i max = _mm256_set1_epi32((int32_t)p->k - 1); \
        int32_t columns[2 * LANES]; \
        for (size_t r = first; r < last; r++) { \
            const size_t end = csrmm_bound(p, r + 1); \
            size_t i = csrmm_bound(p, r); \
            vector even = zero(), odd = zero(); \
            for (; i + 2 * LANES <= end; i += 2 * LANES) { \
                _mm_prefetch((const char *)(w + i) + AHEAD, _MM_HINT_T0); \
                _mm_prefetch((const char *)(index + i) + AHEAD, _MM_HINT_T0); \
                PCX_UNROLL \
                for (int j = 0; j < 2 * LANES; j += 8) \
                    csrmm_store_8(columns + j, _mm256_min_epu32(csrmm_load_8(index + i + j), max)); \
                even = fma(load(w + i), csrmm_picked_##type(x, columns), even); \
                odd = fma(load(w + i + LANES), csrmm_picked_##type(x, columns + LANES), odd); \
            } \
            csrmm_columns(p, i, i < end ? end - i : 0, columns); \
            size_t at = 0; \
            if (i + LANES <= end) { \
                even = fma(load(w + i), csrmm_picked_##type(x, columns), even); \
                at = LANES; \
            } \
            real sum = csrmm_total_##type(add(even, odd)); \
            for (; i + at < end; at++) \
                sum += w[i + at] * x[columns[at]]; \
            ((real *)p->out)[r * p->ldo] = sum; \
        } \
    }
VECTOR_ROWS(f32, float, __m256, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_add_ps, _mm256_fmadd_ps)
VECTOR_ROWS(f64, double, __m256d, _mm256_setzero_pd, _mm256_loadu_pd, _mm256_add_pd, _mm256_fmadd_pd)
#undef VECTOR_ROWS

PCX_TARGET_END
#endif
#endif
