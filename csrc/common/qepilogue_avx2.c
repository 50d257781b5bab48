/* qepilogue_avx2.c - sums to int32 and floats: one copy for all kernels. */
#include "qepilogue_avx2.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* Eight sums as floats, with an activation that is no more than two bounds: act_apply's results, of NaN, too. */
PCX_INLINE __m256 qepilogue_avx2_floats(const qepilogue *t, const int32_t *acc, const float *scale)
{
    const __m256i sum = _mm256_loadu_si256((const __m256i *)acc);
    const __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(scale));
    if (t->q.act == PCX_ACT_RELU) /* -0 becomes 0 */
        return _mm256_and_ps(x, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NLE_UQ));
    if (t->q.act != PCX_ACT_CLIP)
        return x;
    const __m256 low = _mm256_broadcast_ss(t->q.act_params), high = _mm256_broadcast_ss(t->q.act_params + 1);
    return _mm256_min_ps(high, _mm256_max_ps(low, x)); /* of NaN, the second argument */
}

void qepilogue_avx2_any_row(const qepilogue *t, size_t i, size_t j, size_t cols, const int32_t *acc, void *out)
{
    size_t done = 0;
    if (t->mode == QT_F32 && t->q.act <= PCX_ACT_CLIP)
        for (; done + 8 <= cols; done += 8)
            _mm256_storeu_ps((float *)out + done, qepilogue_avx2_floats(t, acc + done, t->scale + j + done));
    if (done < cols)
        qepilogue_row(t, i, j + done, cols - done, acc + done, (char *)out + done * t->bytes);
}

void qepilogue_avx2_wide_rows(const qepilogue_avx2_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR],
                              uint8_t *out, size_t ldo)
{
    for (size_t r = 0; r < rows; r++)
        qepilogue_avx2_any_row(c->tail, i + r, c->j, c->cols, sum[r], out + r * ldo);
}

PCX_TARGET_END
#endif
