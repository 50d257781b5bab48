/*
 * qdwconv_avx512vnni.c - lines of 3 x 3 and 5 x 5 windows on 512-bit VNNI: vpdpbusd adds four products of u8 and i8 to
 * an int32 without saturation, so sums are exact for any weights.  Eight sums, four where they start, twelve of
 * weights, four bounds and two loads fill 30 registers.  With VBMI, tables are looked up by vpermi2b.
 */
#include "../common/qepilogue_avx512.h"
#include "qdwconv.h"
#include "qdwconv_quads.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")

#define QUAD_V __m512i
#define QUAD_VF __m512
#define QUAD_HELD 3
#define QUAD_LOAD(p) _mm512_loadu_si512(p)
#define QUAD_STORE(p, v) _mm512_storeu_si512(p, v)
#define QUAD_LOW(bits, a, b) _mm512_unpacklo_epi##bits(a, b)
#define QUAD_HIGH(bits, a, b) _mm512_unpackhi_epi##bits(a, b)
#define QUAD_DOT(sum, x, w) _mm512_dpbusd_epi32(sum, x, w)
#define QUAD_LESS(a, b, s) _mm512_sub_epi32(a, _mm512_mullo_epi32(b, _mm512_set1_epi32(s)))
#define QUAD_FLOATS(v) _mm512_castsi512_ps(v)
#define QUAD_SCALED(sum, f) _mm512_mul_ps(_mm512_cvtepi32_ps(sum), f)
#define QUAD_CLAMP qepilogue_avx512_clamp
#define QUAD_CLAMP_MAKE(c) qepilogue_avx512_clamp_make(c)
#define QUAD_SKIPS(c, scale) qepilogue_avx512_skips(c, scale, 64)
#define QUAD_BYTES(f, clamp, skips) qepilogue_avx512_bytes(f, clamp, skips)
#define QUAD_LANES(p) qdwconv_avx512vnni_lanes((const void *const *)(p))
#define QUAD_JOIN(per, p) qdwconv_avx512vnni_join(per, (const void *const *)(p))

PCX_INLINE __m512i qdwconv_avx512vnni_lanes(const void *const p[4])
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128(p[0]));
    v = _mm512_inserti32x4(v, _mm_loadu_si128(p[1]), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128(p[2]), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128(p[3]), 3);
}

PCX_INLINE __m512i qdwconv_avx512vnni_join(const size_t per, const void *const *p)
{
    if (per == 1)
        return _mm512_loadu_si512(p[0]);
    if (per == 2)
        return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(p[0])), _mm256_loadu_si256(p[1]), 1);
    return qdwconv_avx512vnni_lanes(p);
}

#include "qdwconv_quad_tile.h"

/* As qdwconv_quad_after, with one way or the other to look up bytes. */
#define AFTER(isa, table) \
    static PCX_NOINLINE void qdwconv_##isa##_after(const qepilogue *t, const qdwconv_quad *g, size_t i, size_t count, \
                                                   const __m512i *bytes, uint8_t *out, size_t ldo) \
    { \
        const int per = g->per; \
        const __mmask64 mask = ~(__mmask64)0 >> (64 - g->cols); \
        const uint8_t *other = t->q.residual ? t->q.residual + i * t->q.ldr + g->j : NULL; \
        for (size_t x = 0; x < count; x += (size_t)per, bytes++) { \
            __m512i y = _mm512_loadu_si512(bytes); \
            if (t->q.lut) \
                y = table(t->q.lut, y); \
            if (other) /* lanes as they are: this adds within lanes, too */ \
                y = qepilogue_avx512_add( \
                    t, y, qepilogue_avx512_get(per, count - x, other + x * t->q.ldr, t->q.ldr, mask)); \
            qepilogue_avx512_put(per, count - x, out + x * ldo, ldo, mask, y); \
        } \
    }
AFTER(avx512vnni, qepilogue_avx512_table)
PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")
AFTER(avx512vbmi, qepilogue_avx512_table_vbmi)
PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#undef AFTER

static void qdwconv_avx512vnni_run(const qdwconv_layer *l, const qdwconv_line *line, size_t begin, size_t end)
{
    qdwconv_quad_run(l, line, begin, end, qdwconv_avx512vnni_after);
}

static void qdwconv_avx512vnni_run_vbmi(const qdwconv_layer *l, const qdwconv_line *line, size_t begin, size_t end)
{
    qdwconv_quad_run(l, line, begin, end, qdwconv_avx512vbmi_after);
}

PCX_HIDDEN extern const qdwconv_micro qdwconv_micro_avx512vnni, qdwconv_micro_avx512vbmi, qdwconv_micro_avx2;
const qdwconv_micro qdwconv_micro_avx512vnni = QDWCONV_QUAD_MICRO(qdwconv_avx512vnni_run);
const qdwconv_micro qdwconv_micro_avx512vbmi = QDWCONV_QUAD_MICRO(qdwconv_avx512vnni_run_vbmi);

PCX_TARGET_END
#endif
