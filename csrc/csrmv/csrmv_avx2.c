/*
 * csrmv_avx2.c - eight products at a time.  Their numbers of x are loaded one by one: vgatherdps is slower (twice on
 * the Intel cores whose microcode guards it, more on Zen 3), and columns of two bytes rather than four let memory
 * keep up.
 */
#include "csrmv.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

enum { LANES = 8, AHEAD = 512 }; /* weights to fetch: rows are too short for the hardware to get far enough */

/* The numbers of x at four columns. */
PCX_INLINE __m128 four(const float *x, const uint16_t *index)
{
    uint32_t low, high; /* two columns a load: fewer take more shifts, more take the place of x's loads */
    memcpy(&low, index, sizeof low);
    memcpy(&high, index + 2, sizeof high);
    const __m128 a = _mm_load_ss(x + (low & 0xffff)), b = _mm_load_ss(x + (low >> 16));
    const __m128 c = _mm_load_ss(x + (high & 0xffff)), d = _mm_load_ss(x + (high >> 16));
    return _mm_insert_ps(_mm_insert_ps(_mm_insert_ps(a, b, 0x10), c, 0x20), d, 0x30);
}

PCX_INLINE __m256 products(const pcx_csrmv_args *p, size_t i, __m256 sum)
{
    const __m256 x = _mm256_set_m128(four(p->x, p->index + i + 4), four(p->x, p->index + i));
    return _mm256_fmadd_ps(_mm256_loadu_ps(p->w + i), x, sum);
}

PCX_INLINE float sum_avx2(const pcx_csrmv_args *p, size_t begin, size_t end)
{
    __m256 even = _mm256_setzero_ps(), odd = even;
    size_t i = begin;
    for (; i + 2 * LANES <= end; i += 2 * LANES) {
        _mm_prefetch((const char *)(p->w + i) + AHEAD * sizeof *p->w, _MM_HINT_T0); /* beyond the end it does nothing */
        _mm_prefetch((const char *)(p->index + i) + AHEAD * sizeof *p->index, _MM_HINT_T0);
        even = products(p, i, even);
        odd = products(p, i + LANES, odd);
    }
    if (i + LANES <= end) {
        even = products(p, i, even);
        i += LANES;
    }
    even = _mm256_add_ps(even, odd);
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(even), _mm256_extractf128_ps(even, 1));
    if (i + LANES / 2 <= end) {
        sum = _mm_fmadd_ps(_mm_loadu_ps(p->w + i), four(p->x, p->index + i), sum);
        i += LANES / 2;
    }
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    float total = _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
    for (; i < end; i++)
        total += p->w[i] * p->x[p->index[i]];
    return total;
}

void csrmv_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    csrmv_walk(args, begin, end, sum_avx2);
}

PCX_TARGET_END
#endif
