/* permute_neon.c - transposes in registers: 4 x 4 of four bytes, 16 x 16 of one; and images of three channels, by ld3 and st3. */
#include "permute.h"

#include "../common/eight_neon.h"

#if PCX_ARM64

static void permute_neon_transpose_4(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step)
{
    float32x4_t r[4];
    PCX_UNROLL
    for (size_t i = 0; i < 4; i++)
        r[i] = vreinterpretq_f32_u8(vld1q_u8(x + i * x_step));
    eight_neon_turn_4(r[0], r[1], r[2], r[3], r);
    PCX_UNROLL
    for (size_t i = 0; i < 4; i++)
        vst1q_u8(out + i * out_step, vreinterpretq_u8_f32(r[i]));
}

/* Four perfect shuffles of sixteen rows. */
static void permute_neon_transpose_1(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step)
{
    uint8x16_t r[16], t[16];
    PCX_UNROLL
    for (size_t i = 0; i < 16; i++)
        r[i] = vld1q_u8(x + i * x_step);
    PCX_UNROLL
    for (size_t round = 0; round < 4; round++) {
        PCX_UNROLL
        for (size_t i = 0; i < 8; i++) {
            t[2 * i] = vzip1q_u8(r[i], r[i + 8]);
            t[2 * i + 1] = vzip2q_u8(r[i], r[i + 8]);
        }
        PCX_UNROLL
        for (size_t i = 0; i < 16; i++)
            r[i] = t[i];
    }
    PCX_UNROLL
    for (size_t i = 0; i < 16; i++)
        vst1q_u8(out + i * out_step, r[i]);
}

/* Channel-first (CHW) to channel-last, channels `step` bytes apart to triples; how many pixels were done. */
static size_t permute_neon_weave(const uint8_t *x, size_t step, uint8_t *out, size_t n, size_t size)
{
    size_t i = 0;
    if (size == 1) {
        for (; i + 16 <= n; i += 16) {
            const uint8x16x3_t t = { { vld1q_u8(x + i), vld1q_u8(x + i + step), vld1q_u8(x + i + 2 * step) } };
            vst3q_u8(out + 3 * i, t);
        }
        return i;
    }
    for (; i + 4 <= n; i += 4) {
        const uint8_t *from = x + i * sizeof(float);
        const uint32x4x3_t t = { { vreinterpretq_u32_u8(vld1q_u8(from)), vreinterpretq_u32_u8(vld1q_u8(from + step)),
                                   vreinterpretq_u32_u8(vld1q_u8(from + 2 * step)) } };
        vst3q_u32((uint32_t *)(void *)(out + 3 * i * sizeof(float)), t);
    }
    return i;
}

/* And back. */
static size_t permute_neon_unweave(const uint8_t *x, uint8_t *out, size_t step, size_t n, size_t size)
{
    size_t i = 0;
    for (; size == 1 && i + 16 <= n; i += 16) {
        const uint8x16x3_t t = vld3q_u8(x + 3 * i);
        for (size_t k = 0; k < 3; k++)
            vst1q_u8(out + i + k * step, t.val[k]);
    }
    for (; size == 4 && i + 4 <= n; i += 4) {
        const uint32x4x3_t t = vld3q_u32((const uint32_t *)(const void *)(x + 3 * i * sizeof(float)));
        for (size_t k = 0; k < 3; k++)
            vst1q_u8(out + i * sizeof(float) + k * step, vreinterpretq_u8_u32(t.val[k]));
    }
    return i;
}

static void permute_neon_tile(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step, size_t np, size_t nq,
                              size_t size)
{
    const size_t block = size == 4 ? 4 : size == 1 ? 16 : 0;
    if (block && nq == 3 && out_step == 3 * size) {
        const size_t done = permute_neon_weave(x, x_step, out, np, size);
        x += done * size;
        out += done * out_step;
        np -= done;
    }
    if (block && np == 3 && x_step == 3 * size) {
        const size_t done = permute_neon_unweave(x, out, out_step, nq, size);
        x += done * x_step;
        out += done * size;
        nq -= done;
    }
    const size_t whole_p = block ? np / block * block : 0, whole_q = block ? nq / block * block : 0;
    for (size_t j = 0; j < whole_p; j += block)
        for (size_t i = 0; i < whole_q; i += block) {
            const uint8_t *from = x + i * x_step + j * size;
            uint8_t *to = out + j * out_step + i * size;
            if (size == 4)
                permute_neon_transpose_4(from, x_step, to, out_step);
            else
                permute_neon_transpose_1(from, x_step, to, out_step);
        }
    if (whole_q < nq && whole_p)
        permute_tile_scalar(x + whole_q * x_step, x_step, out + whole_q * size, out_step, whole_p, nq - whole_q, size);
    if (whole_p < np)
        permute_tile_scalar(x + whole_p * size, x_step, out + whole_p * out_step, out_step, np - whole_p, nq, size);
}

void permute_neon(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    permute_any(args, begin, end, permute_neon_tile);
}

#endif
