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

/* The numbers of x at four columns. Blends run on any vector port, insertions on one, which would be the limit. */
PCX_INLINE __m128 csrmv_avx2_four(const float *x, const uint16_t *index)
{
    uint32_t low, high; /* two columns a load: fewer take more shifts, more take the place of x's loads */
    memcpy(&low, index, sizeof low);
    memcpy(&high, index + 2, sizeof high);
    const __m128 a = _mm_load_ss(x + (low & 0xffff)), b = _mm_broadcast_ss(x + (low >> 16));
    const __m128 c = _mm_broadcast_ss(x + (high & 0xffff)), d = _mm_broadcast_ss(x + (high >> 16));
    return _mm_blend_ps(_mm_blend_ps(a, b, 2), _mm_blend_ps(c, d, 8), 12);
}

PCX_INLINE __m256 csrmv_avx2_eight(const pcx_csrmv_args *p, size_t i)
{
    return _mm256_set_m128(csrmv_avx2_four(p->x, p->index + i + 4), csrmv_avx2_four(p->x, p->index + i));
}

PCX_INLINE __m256 csrmv_avx2_products(const pcx_csrmv_args *p, size_t i, __m256 sum)
{
    return _mm256_fmadd_ps(_mm256_loadu_ps(p->w + i), csrmv_avx2_eight(p, i), sum);
}

/* The products of the last weights of a row, less than eight: those of the next rows go along and are cut off. */
PCX_INLINE __m256 csrmv_avx2_last_products(const pcx_csrmv_args *p, size_t i, size_t end)
{
    static const int32_t mask[2 * LANES] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    const __m256i those = _mm256_loadu_si256((const __m256i *)(mask + LANES - (end - i)));
    return _mm256_and_ps(_mm256_mul_ps(_mm256_loadu_ps(p->w + i), csrmv_avx2_eight(p, i)), _mm256_castsi256_ps(those));
}

PCX_INLINE float csrmv_avx2_sum(const pcx_csrmv_args *p, size_t begin, size_t end)
{
    __m256 even = _mm256_setzero_ps(), odd = even;
    size_t i = begin;
    for (; i + 2 * LANES <= end; i += 2 * LANES) {
        _mm_prefetch((const char *)(p->w + i) + AHEAD * sizeof *p->w, _MM_HINT_T0); /* beyond the end it does nothing */
        _mm_prefetch((const char *)(p->index + i) + AHEAD * sizeof *p->index, _MM_HINT_T0);
        even = csrmv_avx2_products(p, i, even);
        odd = csrmv_avx2_products(p, i + LANES, odd);
    }
    if (i + LANES <= end) {
        even = csrmv_avx2_products(p, i, even);
        i += LANES;
    }
    if (PCX_LIKELY(i + LANES <= p->nnz)) {
        odd = _mm256_add_ps(odd, csrmv_avx2_last_products(p, i, end));
        i = end;
    }
    even = _mm256_add_ps(even, odd);
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(even), _mm256_extractf128_ps(even, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    float total = _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
    for (; i < end; i++)
        total += p->w[i] * p->x[p->index[i]];
    return total;
}

void csrmv_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    csrmv_walk(args, begin, end, csrmv_avx2_sum);
}

PCX_TARGET_END
#endif
