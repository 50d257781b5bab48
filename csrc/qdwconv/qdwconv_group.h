/* qdwconv_group.h - 32 channels of a depthwise layer on AVX2, and any tail of a pixel. */
#ifndef PCX_QDWCONV_GROUP_H
#define PCX_QDWCONV_GROUP_H

#include "../common/qepilogue_avx2.h"
#include "qdwconv_acc16.h"
#include "qdwconv_line.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

/* 32 channels of a layer: their weights and their epilogue. */
typedef struct {
    __m256i base[4]; /* where the sums start */
    __m256 scale[4];
    const qdwconv_acc16 *acc16;
    size_t j;          /* the first of the channels */
    size_t skip, cols; /* of the 32, [skip, skip + cols) are to be written */
    int plain, small;  /* to u8 without residual, and table but with `all`; qepilogue_avx2_is_small */
    int all;           /* all 32 may be written: those skipped get the same bytes again */
    int near;          /* all of base lie in [-2^22, 2^22] */
    __m256 less[4];    /* 2^23 - base, where near */
} qdwconv_group;

/* What a layer's scratch holds: its groups, then addresses of taps. */
static inline size_t qdwconv_taps_at(size_t c) { return qdwconv_groups(c) * sizeof(qdwconv_group); }

enum { DW_NEAR = 1 << 23 };

PCX_INLINE __m256i qdwconv_load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }

/* Sums of output pixel i to outputs at `out`, whatever the tail. */
static PCX_NOINLINE void qdwconv_finish(const qepilogue *t, const qdwconv_group *f, size_t i, const __m256i sum[4],
                                        uint8_t *out)
{
    uint8_t each[QDW_NC] = { 0 };
    if (t->mode != QT_U8) {
        int32_t acc[QDW_NC];
        for (int v = 0; v < 4; v++) {
            _mm_storeu_si128((__m128i *)(acc + 4 * v), _mm256_castsi256_si128(sum[v]));
            _mm_storeu_si128((__m128i *)(acc + 16 + 4 * v), _mm256_extracti128_si256(sum[v], 1));
        }
        qepilogue_avx2_any_row(t, i, f->j + f->skip, f->cols, acc + f->skip, out + f->skip * t->bytes);
        return;
    }
    const qepilogue_avx2_clamp clamp = qepilogue_avx2_clamp_make(&t->clamp);
    __m256 v[4];
    for (int x = 0; x < 4; x++)
        v[x] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[x]), f->scale[x]);
    __m256i bytes = qepilogue_avx2_bytes(v, &clamp, f->small);
    if (t->q.lut)
        bytes = qepilogue_avx2_table(t->rise, bytes);
    if (t->q.residual) {
        memcpy(each, t->q.residual + i * t->q.ldr + f->j, f->skip + f->cols);
        bytes = qepilogue_avx2_add(t, bytes, _mm_loadu_si128((__m128i *)each), _mm_loadu_si128((__m128i *)(each + 16)));
    }
    _mm256_storeu_si256((__m256i *)each, bytes);
    memcpy(out + f->skip, each + f->skip, f->cols);
}

/* The first of 32 bytes. */
PCX_INLINE void qdwconv_store(uint8_t *to, size_t cols, __m256i bytes)
{
    uint8_t each[QDW_NC];
    _mm256_storeu_si256((__m256i *)each, bytes);
    size_t c = 0;
    for (; c + 8 <= cols; c += 8)
        memcpy(to + c, each + c, 8);
    for (; c < cols; c++)
        to[c] = each[c];
}

PCX_TARGET_END
#endif
#endif
