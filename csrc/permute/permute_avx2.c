/* permute_avx2.c - transposes in registers: 8 x 8 of four bytes, 16 x 16 of one. */
#include "permute.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

static void transpose_4(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step)
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
static void transpose_1(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step)
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

static void tile_avx2(const uint8_t *x, size_t x_step, uint8_t *out, size_t out_step, size_t np, size_t nq,
                      size_t size)
{
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
                transpose_4(from, x_step, to, out_step);
            else
                transpose_1(from, x_step, to, out_step);
        }
    if (whole_q < nq && whole_p)
        permute_tile_scalar(x + whole_q * x_step, x_step, out + whole_q * size, out_step, whole_p, nq - whole_q, size);
    if (whole_p < np)
        permute_tile_scalar(x + whole_p * size, x_step, out + whole_p * out_step, out_step, np - whole_p, nq, size);
}

void permute_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    permute_any(args, begin, end, tile_avx2);
}

PCX_TARGET_END
#endif
