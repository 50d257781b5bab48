/* qdwconv_avx2.c - lines of a depthwise convolution, 32 channels at a time, taps in pairs: qdwconv_acc16.h. */
#include "qdwconv_pixels.h"
#include "qdwconv_slide.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

static size_t qdwconv_avx2_scratch(size_t kh, size_t kw, size_t c)
{
    return dw_taps_at(c) + round_up((kh * kw + 1) * sizeof(uintptr_t), 64);
}

/* Channels [j, j + count) of an array of words that may be NULL, as 32 with zeros behind. */
PCX_INLINE const void *all32(const void *array, size_t j, size_t count, void *room)
{
    if (array && count == QDW_NC)
        return (const char *)array + j * 4;
    memset(room, 0, 4 * QDW_NC);
    if (array)
        memcpy(room, (const char *)array + j * 4, count * 4);
    return room;
}

/* Quarter v of 32 words. */
PCX_INLINE __m256i quarter(const void *words, int v)
{
    const char *at = (const char *)words + 16 * v;
    return _mm256_loadu2_m128i((const __m128i *)(at + 64), (const __m128i *)at);
}

/* What every pixel has in common: acc = sum a w - azp (colsum - taps wzp) + bias; windows start off by `fix`. */
static void group_make(const qdw_layer *l, size_t index, dw_group *to)
{
    uint32_t room[4][QDW_NC];
    const qtail *t = l->tail;
    const qdwconv_acc16 *g = l->proofs + index;
    const size_t j = g->first, skip = index * QDW_NC - j, cols = min_size(QDW_NC, l->c - index * QDW_NC);
    const void *bias = all32(t->bias, j, skip + cols, room[0]), *sum = all32(l->colsum, j, skip + cols, room[1]);
    const void *wzp = all32(l->wzp, j, skip + cols, room[2]), *scale = all32(t->scale, j, skip + cols, room[3]);
    const __m256i zero = _mm256_set1_epi32(l->xzp), taps = _mm256_set1_epi32((int)(l->kh * l->kw));
    const __m256i far = _mm256_set1_epi32(DW_NEAR / 2 + 1);
    __m256i near = _mm256_set1_epi32(-1);
    *to = (dw_group){ .proof = g, .j = j, .skip = skip, .cols = cols, .small = qt_small_avx2(scale, QDW_NC),
                      .all = skip + cols == QDW_NC };
    to->plain = t->mode == QT_U8 && !t->q.residual && (to->all || !t->q.lut);
    for (int v = 0; v < 4; v++) {
        __m256i off = quarter(sum, v);
        if (l->wzp)
            off = _mm256_sub_epi32(off, _mm256_mullo_epi32(taps, quarter(wzp, v)));
        off = _mm256_add_epi32(_mm256_mullo_epi32(zero, off), quarter(g->fix, v));
        to->base[v] = _mm256_sub_epi32(quarter(bias, v), off);
        to->less[v] = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_set1_epi32(DW_NEAR), to->base[v]));
        to->scale[v] = _mm256_castsi256_ps(quarter(scale, v));
        near = _mm256_and_si256(near, _mm256_cmpgt_epi32(far, to->base[v]));
        near = _mm256_and_si256(near, _mm256_cmpgt_epi32(to->base[v], _mm256_sub_epi32(_mm256_setzero_si256(), far)));
    }
    to->near = _mm256_movemask_epi8(near) == -1;
}

static void qdwconv_avx2_make(const qdw_layer *l)
{
    for (size_t i = 0; i < qdw_groups(l->c); i++)
        group_make(l, i, (dw_group *)l->scratch + i);
}

static void qdwconv_avx2_run(const qdw_layer *l, const qdw_line *line, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        const dw_group *f = (const dw_group *)l->scratch + i;
        dw_line_fn *fn = dw_choose_line(l, f->proof);
        if (fn)
            fn(l->tail, f, line);
        else
            dw_run_pixels(l, line, f);
    }
}

PCX_HIDDEN extern const qdwconv_micro qdwconv_micro_avx2;
const qdwconv_micro qdwconv_micro_avx2 = { qdwconv_avx2_scratch, qdwconv_avx2_make, qdwconv_avx2_run };

PCX_TARGET_END
#endif
