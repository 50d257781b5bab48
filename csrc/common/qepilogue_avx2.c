/* qepilogue_avx2.c - parts of the epilogue that are called: one copy of each for all kernels. */
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

PCX_INLINE void qepilogue_avx2_look_up(const uint8_t *rise, uint8_t *row, size_t rows, size_t ldo, const int wide)
{
    const size_t each = wide ? 1 : 2;
    for (size_t r = 0; r < rows; r += each, row += each * ldo) {
        uint8_t *high = wide ? row + QT_NR : r + 1 < rows ? row + ldo : row;
        const __m128i x0 = _mm_loadu_si128((const __m128i *)row), x1 = _mm_loadu_si128((const __m128i *)high);
        const __m256i y = qepilogue_avx2_table(rise, _mm256_inserti128_si256(_mm256_castsi128_si256(x0), x1, 1));
        _mm_storeu_si128((__m128i *)row, _mm256_castsi256_si128(y));
        _mm_storeu_si128((__m128i *)high, _mm256_extracti128_si256(y, 1));
    }
}

void qepilogue_avx2_lut(const uint8_t *rise, uint8_t *row, size_t rows, size_t ldo, int wide)
{
    if (wide)
        qepilogue_avx2_look_up(rise, row, rows, ldo, 1);
    else
        qepilogue_avx2_look_up(rise, row, rows, ldo, 0);
}

void qepilogue_avx2_put_narrow(const qepilogue_avx2_columns *c, __m256i bytes, const uint8_t *const *residual,
                               uint8_t *const *out)
{
    uint64_t rows[4];
    if (residual) {
        PCX_UNROLL for (int x = 0; x < 4; x++)
            rows[x] = qepilogue_avx2_some(residual[x], c->cols);
        const __m128i low = _mm_loadu_si128((const __m128i *)rows), high = _mm_loadu_si128((const __m128i *)(rows + 2));
        bytes = qepilogue_avx2_add(c->tail, bytes, low, high);
    }
    _mm256_storeu_si256((__m256i *)rows, bytes);
    PCX_UNROLL for (int x = 0; x < 4; x++)
        qepilogue_avx2_put_some(out[x], rows[x], c->cols);
}

void qepilogue_avx2_any_rows(const qepilogue_avx2_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR],
                             uint8_t *out, size_t ldo)
{
    const qepilogue *t = c->tail;
    const uint8_t *residual = qepilogue_avx2_residual(c, i);
    for (size_t r = 0; t->mode != QT_U8 && r < rows; r++)
        qepilogue_avx2_any_row(t, i + r, c->j, c->cols, sum[r], out + r * ldo);
    for (size_t r = 0; t->mode == QT_U8 && r < rows; r += 2) {
        const size_t next = r + 1 < rows ? r + 1 : r;
        __m256i bytes = qepilogue_avx2_two(c, sum[r], sum[next]);
        if (c->rise)
            bytes = qepilogue_avx2_table(c->rise, bytes);
        if (residual)
            bytes = qepilogue_avx2_add(t, bytes, qepilogue_avx2_load(residual + r * t->q.ldr, c->cols),
                                       qepilogue_avx2_load(residual + next * t->q.ldr, c->cols));
        qepilogue_avx2_store(out + r * ldo, _mm256_castsi256_si128(bytes), c->cols);
        qepilogue_avx2_store(out + next * ldo, _mm256_extracti128_si256(bytes, 1), c->cols); /* of an odd row again */
    }
}

PCX_TARGET_END
#endif
