/* qdwconv_avx2.c - lines of a depthwise convolution, 32 channels at a time, taps in pairs: qdwconv_acc16.h. */
#include "qdwconv.h"
#include "qdwconv_pixels.h"
#include "qdwconv_slide.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

static size_t qdwconv_avx2_scratch(size_t kh, size_t kw, size_t c)
{
    return qdwconv_taps_at(c) + round_up((kh * kw + 1) * sizeof(uintptr_t), 64);
}

/* Channels [j, j + count) of an array of words that may be NULL, as 32 with zeros behind. */
PCX_INLINE const void *qdwconv_avx2_all32(const void *array, size_t j, size_t count, void *copy)
{
    if (array && count == QDW_NC)
        return (const char *)array + j * 4;
    memset(copy, 0, 4 * QDW_NC);
    if (array)
        memcpy(copy, (const char *)array + j * 4, count * 4);
    return copy;
}

/* Quarter v of 32 words. */
PCX_INLINE __m256i qdwconv_avx2_quarter(const void *words, int v)
{
    const char *at = (const char *)words + 16 * v;
    return _mm256_loadu2_m128i((const __m128i *)(at + 64), (const __m128i *)at);
}

/* What every pixel has in common: acc = sum a w - azp (colsum - taps wzp) + bias; chunks start off by `fix`. */
static void qdwconv_avx2_group_make(const qdwconv_layer *l, size_t index, qdwconv_group *to)
{
    uint32_t copy[4][QDW_NC];
    const qepilogue *t = l->tail;
    const qdwconv_acc16 *g = (const qdwconv_acc16 *)l->weights + index;
    const size_t j = g->first, skip = index * QDW_NC - j, cols = min_size(QDW_NC, l->c - index * QDW_NC);
    const void *bias = qdwconv_avx2_all32(t->bias, j, skip + cols, copy[0]),
               *sum = qdwconv_avx2_all32(l->colsum, j, skip + cols, copy[1]);
    const void *wzp = qdwconv_avx2_all32(l->wzp, j, skip + cols, copy[2]),
               *scale = qdwconv_avx2_all32(t->scale, j, skip + cols, copy[3]);
    const __m256i zero = _mm256_set1_epi32(l->xzp), taps = _mm256_set1_epi32((int)(l->kh * l->kw));
    const __m256i far = _mm256_set1_epi32(DW_NEAR / 2 + 1);
    __m256i near = _mm256_set1_epi32(-1);
    *to = (qdwconv_group){ .acc16 = g, .j = j, .skip = skip, .cols = cols,
                           .small = qepilogue_avx2_is_small(scale, QDW_NC),
                      .all = skip + cols == QDW_NC };
    to->plain = t->mode == QT_U8 && !t->q.residual && (to->all || !t->q.lut);
    for (int v = 0; v < 4; v++) {
        __m256i off = qdwconv_avx2_quarter(sum, v);
        if (l->wzp)
            off = _mm256_sub_epi32(off, _mm256_mullo_epi32(taps, qdwconv_avx2_quarter(wzp, v)));
        off = _mm256_add_epi32(_mm256_mullo_epi32(zero, off), qdwconv_avx2_quarter(g->fix, v));
        to->base[v] = _mm256_sub_epi32(qdwconv_avx2_quarter(bias, v), off);
        to->less[v] = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(DW_NEAR), to->base[v]));
        to->scale[v] = _mm256_castsi256_ps(qdwconv_avx2_quarter(scale, v));
        near = _mm256_and_si256(near, _mm256_cmpgt_epi32(far, to->base[v]));
        near = _mm256_and_si256(near, _mm256_cmpgt_epi32(to->base[v], _mm256_sub_epi32(_mm256_setzero_si256(), far)));
    }
    to->near = _mm256_movemask_epi8(near) == -1;
}

static void qdwconv_avx2_make(const qdwconv_layer *l)
{
    for (size_t i = 0; i < qdwconv_groups(l->c); i++)
        qdwconv_avx2_group_make(l, i, (qdwconv_group *)l->scratch + i);
}

static void qdwconv_avx2_run(const qdwconv_layer *l, const qdwconv_line *line, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        const qdwconv_group *f = (const qdwconv_group *)l->scratch + i;
        qdwconv_line_fn *fn = qdwconv_choose_line(l, f->acc16);
        if (fn)
            fn(l->tail, f, line);
        else
            qdwconv_run_pixels(l, line, f);
    }
}

PCX_HIDDEN extern const qdwconv_micro qdwconv_micro_avx2;
const qdwconv_micro qdwconv_micro_avx2 = {
    .channels = QDWCONV_CHANNELS, .width = QDWCONV_WIDTH, .lines = 1, .groups = qdwconv_groups,
    .prepared = qdwconv_acc16_bytes, .prepare = qdwconv_acc16_make,
    .scratch = qdwconv_avx2_scratch, .make = qdwconv_avx2_make, .run = qdwconv_avx2_run,
};

PCX_TARGET_END
#endif
