/* permute_avx2.c - transposes in registers: 8 x 8 of four bytes, 16 x 16 of one. */
#include "permute.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

static void permute_avx2_transpose_4(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step)
{
    __m256 r[8], t[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps((const float *)(const void *)(x + i * x_step));
    for (size_t i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (size_t i = 0; i < 8; i += 4)
        for (size_t j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
            r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
        }
    for (size_t i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (size_t i = 0; i < 8; i++)
        _mm256_storeu_ps((float *)(void *)(out + i * out_step), t[i]);
}

/* Four perfect shuffles of sixteen rows. */
static void permute_avx2_transpose_1(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step)
{
    __m128i r[16], t[16];
    for (size_t i = 0; i < 16; i++)
        r[i] = _mm_loadu_si128((const __m128i *)(const void *)(x + i * x_step));
    for (size_t round = 0; round < 4; round++) {
        for (size_t i = 0; i < 8; i++) {
            t[2 * i] = _mm_unpacklo_epi8(r[i], r[i + 8]);
            t[2 * i + 1] = _mm_unpackhi_epi8(r[i], r[i + 8]);
        }
        memcpy(r, t, sizeof r);
    }
    for (size_t i = 0; i < 16; i++)
        _mm_storeu_si128((__m128i *)(void *)(out + i * out_step), r[i]);
}

/*
 * Images of three channels: channel-first (CHW) to channel-last and back.  In each vector of four pixels, pixels 0 and
 * 3 keep their positions, and 1 and 2 are moved to their positions in the triples, so that blends do the rest.
 */
PCX_INLINE __m128 permute_avx2_order_0(__m128 v) { return _mm_shuffle_ps(v, v, _MM_SHUFFLE(1, 2, 3, 0)); }
PCX_INLINE __m128 permute_avx2_order_1(__m128 v) { return _mm_shuffle_ps(v, v, _MM_SHUFFLE(2, 3, 0, 1)); }
PCX_INLINE __m128 permute_avx2_order_2(__m128 v) { return _mm_shuffle_ps(v, v, _MM_SHUFFLE(3, 0, 1, 2)); }

/* The lanes of u, but 1 from v and 2 from w, and so on: the same blends weave and unweave. */
PCX_INLINE void permute_avx2_blend_3(__m128 u, __m128 v, __m128 w, __m128 out[3])
{
    out[0] = _mm_blend_ps(_mm_blend_ps(u, v, 2), w, 4);
    out[1] = _mm_blend_ps(_mm_blend_ps(v, w, 2), u, 4);
    out[2] = _mm_blend_ps(_mm_blend_ps(w, u, 2), v, 4);
}

PCX_INLINE __m128 permute_avx2_load_4(const uint8_t *from) { return _mm_loadu_ps((const float *)(const void *)from); }
PCX_INLINE void permute_avx2_store_4(uint8_t *to, __m128 v) { _mm_storeu_ps((float *)(void *)to, v); }

/* Pixels of four bytes, channels `step` apart to triples; how many were done. */
static size_t permute_avx2_weave_4(const uint8_t *x, size_t step, uint8_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint8_t *from = x + i * 4;
        __m128 t[3];
        permute_avx2_blend_3(permute_avx2_order_0(permute_avx2_load_4(from)),
                             permute_avx2_order_1(permute_avx2_load_4(from + step)),
                             permute_avx2_order_2(permute_avx2_load_4(from + 2 * step)), t);
        for (size_t k = 0; k < 3; k++)
            permute_avx2_store_4(out + i * 12 + k * 16, t[k]);
    }
    return i;
}

static size_t permute_avx2_unweave_4(const uint8_t *x, uint8_t *out, size_t step, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint8_t *from = x + i * 12;
        const __m128 u = permute_avx2_load_4(from), v = permute_avx2_load_4(from + 16),
                     w = permute_avx2_load_4(from + 32);
        permute_avx2_store_4(out + i * 4, permute_avx2_order_0(_mm_blend_ps(_mm_blend_ps(u, w, 2), v, 4)));
        permute_avx2_store_4(out + i * 4 + step, permute_avx2_order_1(_mm_blend_ps(_mm_blend_ps(v, u, 2), w, 4)));
        permute_avx2_store_4(out + i * 4 + 2 * step, permute_avx2_order_2(_mm_blend_ps(_mm_blend_ps(w, v, 2), u, 4)));
    }
    return i;
}

/* The same for bytes: which of 16 pixels goes to byte k of three vectors, -1: none; from -2 on, one per channel. */
static const int8_t third[50] = { -1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1,
                                  5,  -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1,
                                  -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1 };

PCX_INLINE __m128i permute_avx2_load_1(const void *from) { return _mm_loadu_si128((const __m128i *)from); }

static size_t permute_avx2_weave_1(const uint8_t *x, size_t step, uint8_t *out, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 3; k++) {
            __m128i t = _mm_setzero_si128();
            for (size_t plane = 0; plane < 3; plane++)
                t = _mm_or_si128(t, _mm_shuffle_epi8(permute_avx2_load_1(x + i + plane * step),
                                                     permute_avx2_load_1(third + 2 - plane + k * 16)));
            _mm_storeu_si128((__m128i *)(void *)(out + i * 3 + k * 16), t);
        }
    return i;
}

static size_t permute_avx2_unweave_1(const uint8_t *x, uint8_t *out, size_t step, size_t n)
{
    const __m128i every = _mm_setr_epi8(0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t plane = 0; plane < 3; plane++) {
            __m128i t = _mm_setzero_si128();
            for (size_t k = 0; k < 3; k++) { /* past 15 of this vector: none, as below 0 */
                const __m128i at = _mm_add_epi8(every, _mm_set1_epi8((char)((int)plane - 16 * (int)k)));
                const __m128i mask = _mm_or_si128(at, _mm_cmpgt_epi8(at, _mm_set1_epi8(15)));
                t = _mm_or_si128(t, _mm_shuffle_epi8(permute_avx2_load_1(x + i * 3 + k * 16), mask));
            }
            _mm_storeu_si128((__m128i *)(void *)(out + i + plane * step), t);
        }
    return i;
}

static void permute_avx2_tile(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step, size_t np, size_t nq,
                              size_t size)
{
    size_t done = 0;
    if (nq == 3 && out_step == 3 * size && (size == 4 || size == 1))
        done = size == 4 ? permute_avx2_weave_4(x, x_step, out, np) : permute_avx2_weave_1(x, x_step, out, np);
    x += done * size;
    out += done * out_step;
    np -= done;
    if (np == 3 && x_step == 3 * size && (size == 4 || size == 1)) {
        done = size == 4 ? permute_avx2_unweave_4(x, out, out_step, nq) : permute_avx2_unweave_1(x, out, out_step, nq);
        x += done * x_step;
        out += done * size;
        nq -= done;
    }
    const size_t block = size == 4 ? 8 : size == 1 ? 16 : 0;
    size_t whole_p = 0, whole_q = 0;
    if (block) {
        whole_p = np / block * block;
        whole_q = nq / block * block;
    }
    for (size_t j = 0; j < whole_p; j += block)
        for (size_t i = 0; i < whole_q; i += block) {
            const uint8_t *from = x + i * x_step + j * size;
            uint8_t *to = out + j * out_step + i * size;
            if (size == 4)
                permute_avx2_transpose_4(from, x_step, to, out_step);
            else
                permute_avx2_transpose_1(from, x_step, to, out_step);
        }
    if (whole_q < nq && whole_p)
        permute_tile_scalar(x + whole_q * x_step, x_step, out + whole_q * size, out_step, whole_p, nq - whole_q, size);
    if (whole_p < np)
        permute_tile_scalar(x + whole_p * size, x_step, out + whole_p * out_step, out_step, np - whole_p, nq, size);
}

void permute_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    permute_any(args, begin, end, permute_avx2_tile);
}

PCX_TARGET_END
#endif
