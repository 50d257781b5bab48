/* qbinary_avx2.c - 32 elements at a time, where they are neighbours or one number for all. */
#include "qbinary.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

enum { STEP = 32 };

/* 16 bytes less their zero point, as two vectors of int32. */
PCX_INLINE void widen(const uint8_t *x, __m256i zero, __m256i v[2])
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)x);
    v[0] = _mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), zero);
    v[1] = _mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)), zero);
}

PCX_INLINE void row_vectors(const qbinary_op *q, int mul, size_t n, const uint8_t *a, const uint8_t *b, int one,
                            uint8_t *out)
{
    const __m256i za = _mm256_set1_epi32((int32_t)q->za), zb = _mm256_set1_epi32((int32_t)q->zb);
    const __m256 sa = _mm256_set1_ps(q->sa), sb = _mm256_set1_ps(q->sb);
    const __m256i single = _mm256_set1_epi32((int32_t)(b[0] - q->zb));
    for (size_t j = 0; j < n; j += STEP) {
        __m256 y[4];
        PCX_UNROLL for (int h = 0; h < 2; h++) {
            __m256i u[2], v[2] = { single, single };
            widen(a + j + 16 * h, za, u);
            if (!one)
                widen(b + j + 16 * h, zb, v);
            PCX_UNROLL for (int x = 0; x < 2; x++)
                y[2 * h + x] = mul ? _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_mullo_epi32(u[x], v[x])), sa)
                                   : _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(u[x]), sa),
                                                   _mm256_mul_ps(_mm256_cvtepi32_ps(v[x]), sb));
        }
        _mm256_storeu_si256((__m256i *)(void *)(out + j), qt_rows_avx2(y, &q->clamp));
    }
}

PCX_INLINE void row_avx2(const qbinary_op *q, size_t n, const uint8_t *a, size_t sa, const uint8_t *b, size_t sb,
                         uint8_t *out, size_t so)
{
    const size_t whole = sa == 1 && sb <= 1 && so == 1 ? n / STEP * STEP : 0;
    if (whole && q->mul)
        row_vectors(q, 1, whole, a, b, sb == 0, out);
    else if (whole)
        row_vectors(q, 0, whole, a, b, sb == 0, out);
    qbinary_row(q, n - whole, a + whole * sa, sa, b + whole * sb, sb, out + whole * so, so);
}

void qbinary_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qbinary_run(args, begin, end, row_avx2);
}

PCX_TARGET_END
#endif
