/* qpool_avx2.c - means of 32 channels at a time: sums in uint16 as long as they fit. */
#include "../common/qepilogue_avx2.h"
#include "qpool.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

enum { STEP = 32, CELLS = 65535 / 255 /* bytes whose sum fits uint16 */ };

/* The sums so far, in the order in which unpacking leaves them and qepilogue_avx2_bytes takes them back, and none in uint16. */
PCX_INLINE void qpool_avx2_flush(__m256i sum[4], __m256i half[2])
{
    const __m256i none = _mm256_setzero_si256();
    PCX_UNROLL for (int h = 0; h < 2; h++) {
        sum[2 * h] = _mm256_add_epi32(sum[2 * h], _mm256_unpacklo_epi16(half[h], none));
        sum[2 * h + 1] = _mm256_add_epi32(sum[2 * h + 1], _mm256_unpackhi_epi16(half[h], none));
        half[h] = none;
    }
}

/* Channels [c, c + 32 * vectors). */
PCX_INLINE void qpool_avx2_mean(const qpool_window *w, size_t c, const int vectors, uint8_t *out)
{
    const qepilogue_avx2_clamp clamp = qepilogue_avx2_clamp_make(&w->clamp);
    const __m256i none = _mm256_setzero_si256();
    __m256i sum[2][4], half[2][2];
    size_t workspace = CELLS;
    PCX_UNROLL for (int v = 0; v < vectors; v++) {
        half[v][0] = half[v][1] = none;
        PCX_UNROLL for (int i = 0; i < 4; i++)
            sum[v][i] = none;
    }
    for (size_t y = 0; y < w->rows; y++) {
        const uint8_t *x = w->x + y * w->row_step + c;
        for (size_t left = w->columns, some; left; left -= some) {
            some = min_size(left, workspace);
            for (size_t i = 0; i < some; i++, x += w->column_step)
                PCX_UNROLL for (int v = 0; v < vectors; v++) {
                    const __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(x + STEP * v));
                    half[v][0] = _mm256_add_epi16(half[v][0], _mm256_unpacklo_epi8(bytes, none));
                    half[v][1] = _mm256_add_epi16(half[v][1], _mm256_unpackhi_epi8(bytes, none));
                }
            workspace -= some;
            if (!workspace) {
                PCX_UNROLL for (int v = 0; v < vectors; v++)
                    qpool_avx2_flush(sum[v], half[v]);
                workspace = CELLS;
            }
        }
    }
    PCX_UNROLL for (int v = 0; v < vectors; v++) {
        __m256 y[4];
        qpool_avx2_flush(sum[v], half[v]);
        PCX_UNROLL for (int i = 0; i < 4; i++) {
            const __m256i total = _mm256_sub_epi32(sum[v][i], _mm256_set1_epi32((int32_t)w->zeros));
            y[i] = _mm256_mul_ps(_mm256_cvtepi32_ps(total), _mm256_set1_ps(w->scale));
        }
        _mm256_storeu_si256((__m256i *)(void *)(out + c + STEP * v), qepilogue_avx2_bytes(y, &clamp, 0));
    }
}

/* The last 32 channels may be some that were done before. */
PCX_INLINE void qpool_avx2_channels(const qpool_window *w, size_t count, int max, uint8_t *out)
{
    size_t c = 0;
    if (count < STEP) {
        qpool_channels(w, count, max, out);
        return;
    }
    for (; c + 2 * STEP <= count; c += 2 * STEP)
        if (max)
            qpool_max(w, c, 2 * STEP, out);
        else
            qpool_avx2_mean(w, c, 2, out);
    for (; c < count; c += STEP) {
        const size_t at = min_size(c, count - STEP);
        if (max)
            qpool_max(w, at, STEP, out);
        else
            qpool_avx2_mean(w, at, 1, out);
    }
}

void qpool_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qpool_run(args, begin, end, qpool_avx2_channels);
}

PCX_TARGET_END
#endif
