/* qepilogue_neon.c - qepilogue_neon.h where code of its own in each tile would be too much. */
#include "qepilogue_neon.h"

#if PCX_ARM64

/* To bytes. */
static void qepilogue_neon_byte_rows(const qepilogue_neon_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR],
                                     uint8_t *out, size_t ldo)
{
    const pcx_qoutput *q = &c->tail->q;
    const uint8_t *residual = q->residual ? q->residual + i * q->ldr + c->j : NULL;
    for (size_t r = 0; r < rows; r++, out += ldo) {
        const int32x4_t acc[4] = { vld1q_s32(sum[r]), vld1q_s32(sum[r] + 4), vld1q_s32(sum[r] + 8),
                                   vld1q_s32(sum[r] + 12) };
        uint8x16_t bytes = qepilogue_neon_sums(c, acc);
        if (q->lut)
            bytes = qepilogue_neon_table(q->lut, bytes);
        if (residual)
            bytes = qepilogue_neon_add(c->tail, bytes, qepilogue_neon_load(residual + r * q->ldr, c->cols));
        qepilogue_neon_store(out, bytes, c->cols);
    }
}

void qepilogue_neon_rows(const qepilogue_neon_columns *c, size_t i, size_t rows, int32_t sum[][QT_NR], uint8_t *out,
                         size_t ldo)
{
    if (c->tail->mode == QT_U8)
        qepilogue_neon_byte_rows(c, i, rows, sum, out, ldo);
    else
        for (size_t r = 0; r < rows; r++)
            qepilogue_any_row(c->tail, i + r, c->j, c->cols, sum[r], out + r * ldo);
}
#endif
