/*
 * qdwconv_dotprod.c - lines of 3 x 3 and 5 x 5 windows with sdot, 16 channels at a time: it adds four products of i8 to an
 * int32, so sums are exact for any weights.  Pixels are u8 less 128, so sums start 128 colsum higher.  Eight sums, four where
 * they start, 16 of weights and a load fill 29 registers; the other weights come from memory.
 */
#include "../common/qepilogue_neon.h"
#include "qdwconv.h"
#include "qdwconv_quads.h"

#if PCX_ARM64

int qdwconv_dotprod_takes(const void *args)
{
    const pcx_qdwconv_args *p = args;
    return qdwconv_quads_take(p) && p->c >= QUAD_LANE; /* of fewer channels more would be written */
}

PCX_TARGET(PCX_TARGET_DOTPROD)

PCX_INLINE int8x16_t qdwconv_dotprod_add(int8x16_t sum, int8x16_t x, int8x16_t w)
{
    int32x4_t each = vreinterpretq_s32_s8(sum);
    PCX_SDOT(each, w, x);
    return vreinterpretq_s8_s32(each);
}

/* a - b * (s - 128) */
PCX_INLINE int8x16_t qdwconv_dotprod_start(int8x16_t a, int8x16_t b, int32_t s)
{
    const uint32x4_t product = vmulq_n_u32(vreinterpretq_u32_s8(b), (uint32_t)s - 128);
    return vreinterpretq_s8_u32(vsubq_u32(vreinterpretq_u32_s8(a), product));
}

/* QT_SMALL and the others: the scales are finite, and nothing else matters. */
static int qdwconv_dotprod_skips(const float scale[16])
{
    int finite = 1;
    for (size_t x = 0; x < QT_NR; x++)
        finite &= fabsf(scale[x]) <= 3.4028234e38f;
    return finite ? QT_SMALL | QT_NO_ZERO | QT_NO_CLAMP : 0;
}

#define QUAD_V int8x16_t
#define QUAD_VF float32x4_t
#define QUAD_HELD 4
#define QUAD_LOAD(p) vld1q_s8((const int8_t *)(const void *)(p))
#define QUAD_STORE(p, v) vst1q_s8((int8_t *)(void *)(p), v)
#define QUAD_LOW(bits, a, b) QUAD_LOW_##bits(a, b)
#define QUAD_LOW_8(a, b) vzip1q_s8(a, b)
#define QUAD_LOW_16(a, b) vreinterpretq_s8_s16(vzip1q_s16(vreinterpretq_s16_s8(a), vreinterpretq_s16_s8(b)))
#define QUAD_HIGH(bits, a, b) QUAD_HIGH_##bits(a, b)
#define QUAD_HIGH_8(a, b) vzip2q_s8(a, b)
#define QUAD_HIGH_16(a, b) vreinterpretq_s8_s16(vzip2q_s16(vreinterpretq_s16_s8(a), vreinterpretq_s16_s8(b)))
#define QUAD_DOT(sum, x, w) qdwconv_dotprod_add(sum, x, w)
#define QUAD_LESS(a, b, s) qdwconv_dotprod_start(a, b, s)
#define QUAD_FLOATS(v) vreinterpretq_f32_s8(v)
#define QUAD_SCALED(sum, f) vmulq_f32(vcvtq_f32_s32(vreinterpretq_s32_s8(sum)), f)
#define QUAD_CLAMP qepilogue_neon_clamp
#define QUAD_CLAMP_MAKE(c) qepilogue_neon_clamp_make(c)
#define QUAD_SKIPS(c, scale) qdwconv_dotprod_skips(scale)
#define QUAD_BYTES(f, clamp, skips) vreinterpretq_s8_u8(qepilogue_neon_bytes(f, clamp, (skips) & QT_SMALL))
#define QUAD_LANES(p) QUAD_LOAD((p)[0])
#define QUAD_JOIN(per, p) QUAD_LOAD((p)[0])
#define QUAD_READ(v) veorq_s8(v, vdupq_n_s8(-128))
#define QUAD_TAKES qdwconv_dotprod_takes
#define QUAD_OTHER qdwconv_micro_neon

#include "qdwconv_quad_tile.h"

/* As qdwconv_quad_after. */
static PCX_NOINLINE void qdwconv_dotprod_after(const qepilogue *t, const qdwconv_quad *g, size_t i, size_t count,
                                               const int8x16_t *bytes, uint8_t *out, size_t ldo)
{
    const uint8_t *other = t->q.residual ? t->q.residual + i * t->q.ldr + g->j : NULL;
    for (size_t x = 0; x < count; x++, bytes++, out += ldo) {
        uint8x16_t y = vreinterpretq_u8_s8(*bytes);
        if (t->q.lut)
            y = qepilogue_neon_table(t->q.lut, y);
        if (other)
            y = qepilogue_neon_add(t, y, vld1q_u8(other + x * t->q.ldr));
        vst1q_u8(out, y);
    }
}

static void qdwconv_dotprod_run(const qdwconv_layer *l, const qdwconv_line *line, size_t begin, size_t end)
{
    qdwconv_quad_run(l, line, begin, end, qdwconv_dotprod_after);
}

PCX_HIDDEN extern const qdwconv_micro qdwconv_micro_dotprod, qdwconv_micro_neon;
const qdwconv_micro qdwconv_micro_dotprod = QDWCONV_QUAD_MICRO(qdwconv_dotprod_run);

PCX_TARGET_END
#endif
