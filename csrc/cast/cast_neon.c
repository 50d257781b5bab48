/* cast_neon.c - between float and float16 or bfloat16, for inputs and outputs of such models; all else is scalar. */
#include "cast.h"

#if PCX_ARM64
#include <arm_neon.h>

enum { LANES = 4 };

static void cast_neon_widen(const uint16_t *x, float *out, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x + i))));
    for (; i < n; i++)
        out[i] = (float)half_to_double(x[i]);
}

static void cast_neon_narrow(const float *x, uint16_t *out, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < n; i++)
        out[i] = half_from_double(x[i]);
}

static void cast_neon_widen_bf16(const uint16_t *x, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_bf16_to_float(x[i]);
}

static void cast_neon_narrow_bf16(const float *x, uint16_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = half_bf16_from_float(x[i]);
}

void cast_neon(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_cast_args *p = args;
    const size_t at = begin * CAST_UNIT, n = min_size(end * CAST_UNIT, p->n) - at;
    if (p->xt == PCX_F16 && p->ot == PCX_F32)
        cast_neon_widen((const uint16_t *)p->x + at, (float *)p->out + at, n);
    else if (p->xt == PCX_F32 && p->ot == PCX_F16)
        cast_neon_narrow((const float *)p->x + at, (uint16_t *)p->out + at, n);
    else if (p->xt == PCX_BF16 && p->ot == PCX_F32)
        cast_neon_widen_bf16((const uint16_t *)p->x + at, (float *)p->out + at, n);
    else if (p->xt == PCX_F32 && p->ot == PCX_BF16)
        cast_neon_narrow_bf16((const float *)p->x + at, (uint16_t *)p->out + at, n);
    else
        cast_scalar(args, begin, end, scratch);
}
#endif
