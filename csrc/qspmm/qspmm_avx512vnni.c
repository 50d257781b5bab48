/*
 * qspmm_avx512vnni.c - 16 pixels a vector: panels of 64 pixels, two outputs at a time, or 128 where they fit the L1
 * cache.  The pixels of a vector stand by columns of 4x4, so that outputs come out in their order.
 */
#include "../common/qepilogue_avx512.h"
#include "qspmm.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")

#define QSPMM(name)   qspmm_avx512vnni_##name
#define QSPMM_VECTORS 8
#define QSPMM_VECTOR  __m512i
#define QSPMM_LOAD    _mm512_load_si512
#define QSPMM_STORE   _mm512_store_si512
#define QSPMM_SET1    _mm512_set1_epi32
#define QSPMM_SUB     _mm512_sub_epi32
#define QSPMM_MUL     _mm512_mullo_epi32
#define QSPMM_MORE(p, j) 0
#define QSPMM_DOTS    PCX_DPBUSD
#include "qspmm_vnni.h"

static void qspmm_avx512vnni_gather(const uint8_t *const *row, size_t k, uint8_t *to, size_t step)
{
    qspmm_avx2_gather(row, k, to, step);
    qspmm_avx2_gather(row + QSPMM_PX / 2, k, to + QSPMM_PX / 2 * 4, step);
}

/* Sums of four outputs, `stride` bytes apart, to bytes, those of a pixel together. */
PCX_INLINE __m512i qspmm_avx512vnni_bytes(const qepilogue_avx512_vector *to, const float *scale, const uint8_t *sums,
                                          size_t stride)
{
    const __m512i by_pixel =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m512 v[4];
    PCX_UNROLL for (size_t x = 0; x < 4; x++)
        v[x] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums + x * stride)), _mm512_set1_ps(scale[x]));
    return _mm512_shuffle_epi8(qepilogue_avx512_bytes(v, &to->clamp, to->skips), by_pixel);
}

/* Sums of 16 outputs of a vector of pixels: quad[x] are the bytes of the pixels 4 x to 4 x + 3. */
PCX_INLINE void qspmm_avx512vnni_quads(const qepilogue_avx512_vector *to, const float scale[QT_NR], const uint8_t *sums,
                                       size_t stride, __m512i quad[4])
{
    __m512i q[4];
    PCX_UNROLL for (size_t x = 0; x < 4; x++)
        q[x] = qspmm_avx512vnni_bytes(to, scale + 4 * x, sums + 4 * x * stride, stride);
    const __m512i low[2] = { _mm512_unpacklo_epi32(q[0], q[1]), _mm512_unpacklo_epi32(q[2], q[3]) };
    const __m512i high[2] = { _mm512_unpackhi_epi32(q[0], q[1]), _mm512_unpackhi_epi32(q[2], q[3]) };
    quad[0] = _mm512_unpacklo_epi64(low[0], low[1]);
    quad[1] = _mm512_unpackhi_epi64(low[0], low[1]);
    quad[2] = _mm512_unpacklo_epi64(high[0], high[1]);
    quad[3] = _mm512_unpackhi_epi64(high[0], high[1]);
}

/* `count` pixels of a vector from row i on, for outputs other than u8. */
static void qspmm_avx512vnni_put_wide(const qepilogue_avx512_columns *c, const uint8_t *sums, size_t stride, size_t i,
                                      size_t count, uint8_t *out, size_t ldo)
{
    _Alignas(64) int32_t by_pixel[QSPMM_PX][QT_NR];
    for (size_t y = 0; y < QT_NR; y++, sums += stride)
        for (size_t x = 0; x < QSPMM_PX; x++) /* places to pixels: see `order` */
            by_pixel[x % 4 * 4 + x / 4][y] = ((const int32_t *)(const void *)sums)[x];
    qepilogue_avx512_rows(c, i, count, by_pixel[0], QT_NR, out, ldo);
}

static void qspmm_avx512vnni_put(const pcx_qspmm_args *p, const qepilogue *tail, size_t j, size_t cols,
                                 const qspmm_workspace *r, const uint8_t *sums, const int vbmi)
{
    const qepilogue_avx512_columns c = qepilogue_avx512_columns_make(tail, j, cols, vbmi);
    const size_t ldo = p->ldo * tail->bytes, stride = r->vectors * sizeof(__m512i);
    uint8_t *out = (uint8_t *)p->out + r->i * ldo + j * tail->bytes;
    float scale[QT_NR];
    _mm512_storeu_ps(scale, c.vector.scale[0]);
    for (size_t at = 0; at < r->count; at += QSPMM_PX, sums += sizeof(__m512i), out += QSPMM_PX * ldo) {
        const size_t count = min_size(r->count - at, QSPMM_PX);
        if (!c.plain) {
            qspmm_avx512vnni_put_wide(&c, sums, stride, r->i + at, count, out, ldo);
            continue;
        }
        const qepilogue_avx512_vector vector = c.vector;
        __m512i quad[4];
        qspmm_avx512vnni_quads(&vector, scale, sums, stride, quad);
        if (c.after) {
            PCX_UNROLL for (int x = 0; x < 4; x++)
                quad[x] = qepilogue_avx512_turn(quad[x]);
            c.after(&c, r->i + at, count, quad, out, ldo);
            continue;
        }
        PCX_UNROLL for (size_t x = 0; x < 4; x++)
            if (4 * x < count)
                qepilogue_avx512_put(4, count - 4 * x, out + 4 * x * ldo, ldo, c.mask, quad[x]);
    }
}

static void qspmm_avx512vnni_finish(const pcx_qspmm_args *p, const qepilogue *tail, size_t j, size_t cols,
                                    const qspmm_workspace *r, const uint8_t *sums)
{
    qspmm_avx512vnni_put(p, tail, j, cols, r, sums, 0);
}

static void qspmm_avx512vnni_finish_vbmi(const pcx_qspmm_args *p, const qepilogue *tail, size_t j, size_t cols,
                                    const qspmm_workspace *r, const uint8_t *sums)
{
    qspmm_avx512vnni_put(p, tail, j, cols, r, sums, 1);
}

#define QSPMM_ORDER { 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15 }
PCX_HIDDEN extern const qspmm_micro qspmm_micro_avx512vnni, qspmm_micro_avx512vbmi;
const qspmm_micro qspmm_micro_avx512vnni = { QSPMM_PX, 4, QSPMM_VECTORS, QSPMM_ORDER, qspmm_avx512vnni_gather,
                                             qspmm_avx512vnni_multiply, qspmm_avx512vnni_finish };
const qspmm_micro qspmm_micro_avx512vbmi = { QSPMM_PX, 4, QSPMM_VECTORS, QSPMM_ORDER, qspmm_avx512vnni_gather,
                                             qspmm_avx512vnni_multiply, qspmm_avx512vnni_finish_vbmi };

PCX_TARGET_END
#endif
