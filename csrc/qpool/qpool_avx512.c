/* qpool_avx512.c - 64 or 128 channels at a time; means: sums in uint16, as long as they fit. */
#include "../common/qepilogue_avx512.h"
#include "qpool.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")

enum { STEP = 64, CELLS = 65535 / 255 /* bytes that a uint16 sums up */ };

/* The sums so far, in the order in which qepilogue_avx512_bytes puts them together again, and none in uint16. */
PCX_INLINE void qpool_avx512_flush(__m512i sum[4], __m512i half[2])
{
    const __m512i none = _mm512_setzero_si512();
    PCX_UNROLL for (int h = 0; h < 2; h++) {
        sum[2 * h] = _mm512_add_epi32(sum[2 * h], _mm512_unpacklo_epi16(half[h], none));
        sum[2 * h + 1] = _mm512_add_epi32(sum[2 * h + 1], _mm512_unpackhi_epi16(half[h], none));
        half[h] = none;
    }
}

/* Channels [c, c + 64 * vectors), of each 64 those of `mask`.  Sums are taken modulo 2^32: exact up to 2^23 cells. */
PCX_INLINE void qpool_avx512_mean(const qpool_window *w, size_t c, const int vectors, __mmask64 mask, uint8_t *out)
{
    const qepilogue_avx512_clamp clamp = qepilogue_avx512_clamp_make(&w->clamp);
    const __m512i none = _mm512_setzero_si512();
    __m512i sum[2][4], half[2][2];
    size_t fit = CELLS;
    PCX_UNROLL for (int v = 0; v < vectors; v++) {
        half[v][0] = half[v][1] = none;
        PCX_UNROLL for (int i = 0; i < 4; i++)
            sum[v][i] = none;
    }
    for (size_t y = 0; y < w->rows; y++) {
        const uint8_t *x = w->x + y * w->row_step + c;
        for (size_t left = w->columns, some; left; left -= some) {
            some = min_size(left, fit);
            for (size_t i = 0; i < some; i++, x += w->column_step)
                PCX_UNROLL for (int v = 0; v < vectors; v++) {
                    const __m512i bytes = _mm512_maskz_loadu_epi8(mask, x + STEP * v);
                    half[v][0] = _mm512_add_epi16(half[v][0], _mm512_unpacklo_epi8(bytes, none));
                    half[v][1] = _mm512_add_epi16(half[v][1], _mm512_unpackhi_epi8(bytes, none));
                }
            fit -= some;
            if (!fit) {
                PCX_UNROLL for (int v = 0; v < vectors; v++)
                    qpool_avx512_flush(sum[v], half[v]);
                fit = CELLS;
            }
        }
    }
    PCX_UNROLL for (int v = 0; v < vectors; v++) {
        __m512 y[4];
        qpool_avx512_flush(sum[v], half[v]);
        PCX_UNROLL for (int i = 0; i < 4; i++) {
            const __m512i total = _mm512_sub_epi32(sum[v][i], _mm512_set1_epi32((int32_t)w->zeros));
            y[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(total), _mm512_set1_ps(w->scale));
        }
        _mm512_mask_storeu_epi8(out + c + STEP * v, mask, qepilogue_avx512_bytes(y, &clamp, 0));
    }
}

PCX_INLINE void qpool_avx512_max(const qpool_window *w, size_t c, const int vectors, __mmask64 mask, uint8_t *out)
{
    __m512i top[2];
    PCX_UNROLL for (int v = 0; v < vectors; v++)
        top[v] = _mm512_setzero_si512();
    for (size_t y = 0; y < w->rows; y++) {
        const uint8_t *x = w->x + y * w->row_step + c;
        for (size_t i = 0; i < w->columns; i++, x += w->column_step)
            PCX_UNROLL for (int v = 0; v < vectors; v++)
                top[v] = _mm512_max_epu8(top[v], _mm512_maskz_loadu_epi8(mask, x + STEP * v));
    }
    PCX_UNROLL for (int v = 0; v < vectors; v++)
        _mm512_mask_storeu_epi8(out + c + STEP * v, mask, top[v]);
}

PCX_INLINE void qpool_avx512_channels(const qpool_window *w, size_t count, int max, uint8_t *out)
{
    const __mmask64 all = ~(__mmask64)0;
    size_t c = 0;
    for (; c + 2 * STEP <= count; c += 2 * STEP)
        if (max)
            qpool_avx512_max(w, c, 2, all, out);
        else
            qpool_avx512_mean(w, c, 2, all, out);
    for (; c < count; c += STEP) {
        const __mmask64 mask = count - c < STEP ? ~(all << (count - c)) : all;
        if (max)
            qpool_avx512_max(w, c, 1, mask, out);
        else
            qpool_avx512_mean(w, c, 1, mask, out);
    }
}

void qpool_avx512(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    qpool_run(args, begin, end, qpool_avx512_channels);
}

PCX_TARGET_END
#endif
