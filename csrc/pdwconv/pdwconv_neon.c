/* pdwconv_neon.c - eight pixels in two registers. */
#include "pdwconv.h"

#include "../common/eight_neon.h"

#if PCX_ARM64

/* A line of n numbers between the zeros of scratch. */
PCX_INLINE void pdwconv_neon_put_line(const float *in, size_t n, float *to, size_t pl)
{
    memcpy(to + pl, in, n * sizeof *in);
}

/* The same, columns of padded positions 0, 2, 4 ... to `even`, and the others. */
PCX_INLINE void pdwconv_neon_put_line_halves(const float *in, size_t n, float *even, float *odd, size_t pl)
{
    float *const first = (pl % 2 ? odd : even) + pl / 2, *const second = (pl % 2 ? even : odd) + (pl + 1) / 2;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const float32x4x2_t x = vld2q_f32(in + i);
        vst1q_f32(first + i / 2, x.val[0]);
        vst1q_f32(second + i / 2, x.val[1]);
    }
    for (; i < n; i++)
        *((i % 2 ? second : first) + i / 2) = in[i];
}

PCX_INLINE float pdwconv_neon_each(const float *w) { return *w; }

PCX_INLINE eight_neon pdwconv_neon_fma(eight_neon x, float w, eight_neon sum)
{
    PCX_FMLA_EACH(sum.low, x.low, w);
    PCX_FMLA_EACH(sum.high, x.high, w);
    return sum;
}

PCX_INLINE void pdwconv_neon_store_some(float *to, size_t count, eight_neon x)
{
    float part[8];
    eight_neon_store(part, x);
    memcpy(to, part, count * sizeof *to);
}

#define PDWCONV(name)          pdwconv_neon_##name
#define PDWCONV_LANES          8
#define PDWCONV_VECTOR         eight_neon
#define PDWCONV_LOAD           eight_neon_load
#define PDWCONV_STORE          eight_neon_store
#define PDWCONV_BROADCAST      eight_neon_broadcast
#define PDWCONV_ZERO           eight_neon_zero
#define PDWCONV_MIN            eight_neon_min
#define PDWCONV_MAX            eight_neon_max
#define PDWCONV_WEIGHT         float
#define PDWCONV_EACH           pdwconv_neon_each
#define PDWCONV_FMA            pdwconv_neon_fma
#define PDWCONV_SOME           size_t
#define PDWCONV_FIRST(count)   (count)
#define PDWCONV_STORE_SOME     pdwconv_neon_store_some
#include "pdwconv_lines.h"

#endif
