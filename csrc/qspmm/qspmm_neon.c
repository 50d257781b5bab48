/*
 * qspmm_neon.c - without dot products: smull and smlal multiply the four weights of a block with two pixels, products of two
 * blocks in int16 where no weight is -128 (2 * 128 * 127 < 2^15), of one otherwise; sadalp adds pairs of them to int32.
 * 12 sums, 12 of int16, weights and a vector of pixels fill 26 registers.  Sums are int32 modulo 2^32.
 */
#include "qspmm_neon.h"

#if PCX_ARM64

enum { QSPMM_NEON_VECTORS = 6 };

void qspmm_neon_gather(const uint8_t *const *row, size_t k, uint8_t *to, size_t step)
{
    const uint8x16_t flip = vdupq_n_u8(QSPMM_NEON_FLIP);
    size_t q = 0;
    for (; q + 16 <= k; q += 16) {
        int32x4_t x[QSPMM_NEON_PX];
        PCX_UNROLL for (int i = 0; i < QSPMM_NEON_PX; i++)
            x[i] = vreinterpretq_s32_u8(veorq_u8(vld1q_u8(row[i] + q), flip));
        qspmm_neon_transpose(x);
        PCX_UNROLL for (int i = 0; i < QSPMM_NEON_PX; i++, to += step)
            vst1q_s32((int32_t *)(void *)to, x[i]);
    }
    for (; q < k; q += 4, to += step)
        for (size_t i = 0; i < QSPMM_NEON_PX; i++)
            for (size_t x = 0; x < 4; x++)
                to[4 * i + x] = (q + x < k ? row[i][q + x] : 0) ^ QSPMM_NEON_FLIP;
}

void qspmm_neon_finish(const pcx_qspmm_args *p, const qepilogue *tail, size_t j, size_t cols, const qspmm_workspace *r,
                       const uint8_t *sums)
{
    const qepilogue_neon_columns c = qepilogue_neon_columns_make(tail, j, cols);
    const size_t ldo = p->ldo * tail->bytes, stride = r->vectors * sizeof(int32x4_t);
    uint8_t *out = (uint8_t *)p->out + r->i * ldo + j * tail->bytes;
    for (size_t at = 0; at < r->count; at += QSPMM_NEON_PX, sums += sizeof(int32x4_t), out += QSPMM_NEON_PX * ldo) {
        const size_t count = min_size(r->count - at, QSPMM_NEON_PX);
        int32_t by_pixel[QSPMM_NEON_PX][QT_NR];
        for (size_t y = 0; y < QT_NR; y += 4) {
            int32x4_t x[4];
            PCX_UNROLL for (size_t i = 0; i < 4; i++)
                x[i] = vld1q_s32((const int32_t *)(const void *)(sums + min_size(y + i, cols - 1) * stride));
            qspmm_neon_transpose(x);
            PCX_UNROLL for (int i = 0; i < QSPMM_NEON_PX; i++)
                vst1q_s32(by_pixel[i] + y, x[i]);
        }
        qepilogue_neon_rows(&c, r->i + at, count, by_pixel, out, ldo);
    }
}

/* part of each of nv vectors = or, unless `first`, += products of block b. */
PCX_INLINE void qspmm_neon_block(const int first, const int nv, const pcx_qspmm_args *p, size_t b, const uint8_t *panel,
                                 int16x8_t part[][2])
{
    int32_t four;
    memcpy(&four, p->w + 4 * b, sizeof four);
    const int8x16_t w = vreinterpretq_s8_s32(vdupq_n_s32(four));
    const uint8_t *at = panel + (size_t)p->index[b] * ((size_t)nv * 16);
    PCX_UNROLL for (int v = 0; v < nv; v++) {
        const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(at + 16 * v));
        part[v][0] = first ? vmull_s8(vget_low_s8(x), vget_low_s8(w)) : vmlal_s8(part[v][0], vget_low_s8(x), vget_low_s8(w));
        part[v][1] = first ? vmull_high_s8(x, w) : vmlal_high_s8(part[v][1], x, w);
    }
}

/* The sums of outputs [j, j + cols). */
PCX_INLINE void qspmm_neon_outputs(const int nv, const int two, const pcx_qspmm_args *p, size_t j, size_t cols,
                                   const qspmm_workspace *r)
{
    int32_t *to = (int32_t *)(void *)r->sums;
    for (const size_t last = j + cols; j < last; j++) {
        const uint32_t colsum = (uint32_t)p->colsum[j];
        const uint32_t base = (p->tail.bias ? (uint32_t)p->tail.bias[j] : 0) + qspmm_neon_flipped(p, j);
        const size_t end = (size_t)p->rows[j + 1];
        int32x4_t sum[QSPMM_NEON_VECTORS][2];
        int16x8_t part[QSPMM_NEON_VECTORS][2];
        PCX_UNROLL for (int v = 0; v < nv; v++)
            sum[v][0] = sum[v][1] = vdupq_n_s32(0);
        size_t b = (size_t)p->rows[j];
        for (; two && b + 2 <= end; b += 2) {
            qspmm_neon_block(1, nv, p, b, r->panel, part);
            qspmm_neon_block(0, nv, p, b + 1, r->panel, part);
            PCX_UNROLL for (int v = 0; v < nv; v++)
                PCX_UNROLL for (int h = 0; h < 2; h++)
                    sum[v][h] = vpadalq_s16(sum[v][h], part[v][h]);
        }
        for (; b < end; b++) {
            qspmm_neon_block(1, nv, p, b, r->panel, part);
            PCX_UNROLL for (int v = 0; v < nv; v++)
                PCX_UNROLL for (int h = 0; h < 2; h++)
                    sum[v][h] = vpadalq_s16(sum[v][h], part[v][h]);
        }
        PCX_UNROLL for (int v = 0; v < nv; v++, to += QSPMM_NEON_PX) {
            const uint32x4_t zero = p->ldz ? vld1q_u32(r->zero + v * QSPMM_NEON_PX) : vdupq_n_u32(r->zero[0]);
            const uint32x4_t start = vmlsq_u32(vdupq_n_u32(base), zero, vdupq_n_u32(colsum));
            vst1q_s32(to, vaddq_s32(vpaddq_s32(sum[v][0], sum[v][1]), vreinterpretq_s32_u32(start)));
        }
    }
}

#define MULTIPLY(nv, two) \
    static PCX_NOINLINE void qspmm_neon_multiply_##nv##_##two(const pcx_qspmm_args *p, size_t j, size_t cols, \
                                                              const qspmm_workspace *r) \
    { \
        qspmm_neon_outputs(nv, two, p, j, cols, r); \
    }
MULTIPLY(1, 0) MULTIPLY(2, 0) MULTIPLY(3, 0) MULTIPLY(4, 0) MULTIPLY(5, 0) MULTIPLY(6, 0)
MULTIPLY(1, 1) MULTIPLY(2, 1) MULTIPLY(3, 1) MULTIPLY(4, 1) MULTIPLY(5, 1) MULTIPLY(6, 1)
#undef MULTIPLY

static void qspmm_neon_multiply(const pcx_qspmm_args *p, size_t j, size_t cols, const qspmm_workspace *r)
{
    static void (*const all[2][1 + QSPMM_NEON_VECTORS])(const pcx_qspmm_args *, size_t, size_t, const qspmm_workspace *) = {
        { NULL, qspmm_neon_multiply_1_0, qspmm_neon_multiply_2_0, qspmm_neon_multiply_3_0, qspmm_neon_multiply_4_0,
          qspmm_neon_multiply_5_0, qspmm_neon_multiply_6_0 },
        { NULL, qspmm_neon_multiply_1_1, qspmm_neon_multiply_2_1, qspmm_neon_multiply_3_1, qspmm_neon_multiply_4_1,
          qspmm_neon_multiply_5_1, qspmm_neon_multiply_6_1 },
    };
    all[p->prepared && *(const unsigned char *)p->prepared][r->vectors](p, j, cols, r);
}

/* What is prepared: a byte that says whether products of two blocks fit int16. */
size_t qspmm_neon_prepared(const void *args) { return (void)args, 1; }

void qspmm_neon_prepare(const void *args, void *prepared)
{
    const pcx_qspmm_args *p = args;
    unsigned char two = 1;
    for (size_t x = 0; x < 4 * p->blocks; x++)
        two &= p->w[x] != -128;
    *(unsigned char *)prepared = two;
}

PCX_HIDDEN extern const qspmm_micro qspmm_micro_neon;
const qspmm_micro qspmm_micro_neon = { .lanes = QSPMM_NEON_PX, .min = 1, .max = QSPMM_NEON_VECTORS, .order = { 0, 1, 2, 3 },
                                       .gather = qspmm_neon_gather, .multiply = qspmm_neon_multiply,
                                       .finish = qspmm_neon_finish };
#endif
