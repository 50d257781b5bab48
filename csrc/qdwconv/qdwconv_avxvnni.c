/*
 * qdwconv_avxvnni.c - lines of 3 x 3 and 5 x 5 windows on 256-bit VNNI: vpdpbusd adds four products of u8 and i8 to an
 * int32 without saturation, so sums are exact for any weights.  Eight sums, four where they start and a load fill 13
 * registers; weights come from memory.
 */
#include "../common/qepilogue_avx2.h"
#include "qdwconv.h"
#include "qdwconv_quads.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avxvnni")

#define QUAD_V __m256i
#define QUAD_VF __m256
#define QUAD_HELD 0
#define QUAD_LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define QUAD_STORE(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define QUAD_LOW(bits, a, b) _mm256_unpacklo_epi##bits(a, b)
#define QUAD_HIGH(bits, a, b) _mm256_unpackhi_epi##bits(a, b)
#define QUAD_DOT(sum, x, w) _mm256_dpbusd_avx_epi32(sum, x, w)
#define QUAD_LESS(a, b, s) _mm256_sub_epi32(a, _mm256_mullo_epi32(b, _mm256_set1_epi32(s)))
#define QUAD_FLOATS(v) _mm256_castsi256_ps(v)
#define QUAD_SCALED(sum, f) _mm256_mul_ps(_mm256_cvtepi32_ps(sum), f)
#define QUAD_CLAMP qepilogue_avx2_clamp
#define QUAD_CLAMP_MAKE(c) qepilogue_avx2_clamp_make(c)
#define QUAD_SKIPS(c, scale) qepilogue_avx2_skips(c, scale, 32)
#define QUAD_BYTES(f, clamp, skips) qepilogue_avx2_bytes(f, clamp, skips)
#define QUAD_LANES(p) _mm256_loadu2_m128i((const __m128i *)(const void *)(p)[1], (const __m128i *)(const void *)(p)[0])
#define QUAD_JOIN(per, p) ((per) == 1 ? QUAD_LOAD((p)[0]) : QUAD_LANES(p))

#include "qdwconv_quad_tile.h"

/* The first `parts` of the two parts of a vector to pixels ldo apart. */
PCX_INLINE void qdwconv_avxvnni_put(size_t parts, uint8_t *out, size_t ldo, size_t cols, __m256i bytes)
{
    uint8_t each[32];
    QUAD_STORE(each, bytes);
    for (size_t n = 0; n < parts; n++)
        if (PCX_LIKELY(cols == 16))
            memcpy(out + n * ldo, each + n * 16, 16);
        else
            memcpy(out + n * ldo, each + n * 16, cols);
}

/* As qdwconv_quad_after. */
static PCX_NOINLINE void qdwconv_avxvnni_after(const qepilogue *t, const qdwconv_quad *g, size_t i, size_t count,
                                               const __m256i *bytes, uint8_t *out, size_t ldo)
{
    const size_t per = (size_t)g->per, cols = g->cols;
    const uint8_t *other = t->q.residual ? t->q.residual + i * t->q.ldr + g->j : NULL;
    for (size_t x = 0; x < count; x += per, bytes++, out += per * ldo) {
        const size_t parts = min_size(per, count - x);
        __m256i y = QUAD_LOAD(bytes);
        uint8_t each[32] = { 0 };
        if (t->q.lut)
            y = qepilogue_avx2_table(t->rise, y);
        if (other) {
            for (size_t n = 0; n < parts; n++)
                memcpy(each + n * g->channels, other + (x + n) * t->q.ldr, cols);
            y = qepilogue_avx2_add(t, y, _mm_loadu_si128((__m128i *)each), _mm_loadu_si128((__m128i *)(each + 16)));
        }
        if (per == 1)
            QUAD_STORE(out, y);
        else
            qdwconv_avxvnni_put(parts, out, ldo, cols, y);
    }
}

static void qdwconv_avxvnni_run(const qdwconv_layer *l, const qdwconv_line *line, size_t begin, size_t end)
{
    qdwconv_quad_run(l, line, begin, end, qdwconv_avxvnni_after);
}

PCX_HIDDEN extern const qdwconv_micro qdwconv_micro_avxvnni, qdwconv_micro_avx2;
const qdwconv_micro qdwconv_micro_avxvnni = QDWCONV_QUAD_MICRO(qdwconv_avxvnni_run);

PCX_TARGET_END
#endif
