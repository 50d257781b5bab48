/* cast_avx2.c - between float and float16 or bfloat16, for inputs and outputs of such models; all else is scalar. */
#include "cast.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma,f16c")

enum { LANES = 8 };

static void cast_avx2_widen(const uint16_t *x, float *out, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + i))));
    for (; i < n; i++)
        out[i] = (float)half_to_double(x[i]);
}

static void cast_avx2_narrow(const float *x, uint16_t *out, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++)
        out[i] = half_from_double(x[i]);
}

static void cast_avx2_widen_bf16(const uint16_t *x, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_bf16_to_float(x[i]);
}

static void cast_avx2_narrow_bf16(const float *x, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_bf16_from_float(x[i]);
}

void cast_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_cast_args *p = args;
    const size_t at = begin * CAST_UNIT, n = min_size(end * CAST_UNIT, p->n) - at;
    if (p->xt == PCX_F16 && p->ot == PCX_F32)
        cast_avx2_widen((const uint16_t *)p->x + at, (float *)p->out + at, n);
    else if (p->xt == PCX_F32 && p->ot == PCX_F16)
        cast_avx2_narrow((const float *)p->x + at, (uint16_t *)p->out + at, n);
    else if (p->xt == PCX_BF16 && p->ot == PCX_F32)
        cast_avx2_widen_bf16((const uint16_t *)p->x + at, (float *)p->out + at, n);
    else if (p->xt == PCX_F32 && p->ot == PCX_BF16)
        cast_avx2_narrow_bf16((const float *)p->x + at, (uint16_t *)p->out + at, n);
    else
        cast_scalar(args, begin, end, scratch);
}

PCX_TARGET_END
#endif
