/* spmm_avx2.c - eight pixels a vector; what transposes panels and sums serves AVX-512, too. */
#include "spmm.h"

#include "../common/act_avx2.h"
#include "spmm_transpose.h"

#if PCX_X86

PCX_TARGET("avx2,fma")

#define SPMM(name)     spmm_avx2_##name
#define SPMM_VECTOR    __m256
#define SPMM_LOAD      _mm256_loadu_ps
#define SPMM_STORE     _mm256_storeu_ps
#define SPMM_BROADCAST _mm256_broadcast_ss
#define SPMM_FMA       _mm256_fmadd_ps
#define SPMM_ADD       _mm256_add_ps
#define SPMM_MIN       _mm256_min_ps
#define SPMM_MAX       _mm256_max_ps
#include "spmm_multiply.h"

/* The epilogues in registers: none, two bounds, hardswish; all others, and unusual strides, go through memory (FEW). */
enum { PLAIN, BOUNDS, HARDSWISH, SLOW, FEW };

/* The epilogue of eight pixels from `pixel` on and eight columns from `column` on; sums[c], `width` apart, are c's. */
PCX_INLINE void spmm_avx2_put_tile(const pcx_spmm_args *p, const float *sums, size_t width, size_t column, size_t pixel,
                                 const int how, __m256 low, __m256 high)
{
    const float *residual = p->tail.residual;
    float *out = p->out + pixel * p->ldo + column, part[SPMM_LANES * SPMM_LANES];
    __m256 t[SPMM_LANES];
    spmm_transpose_8x8(sums, width, t);
    if (residual) {
        residual += pixel * p->tail.ldr + column;
        PCX_UNROLL
        for (int i = 0; i < SPMM_LANES; i++, residual += p->tail.ldr)
            t[i] = _mm256_add_ps(t[i], _mm256_loadu_ps(residual));
    }
    if (how == SLOW) {
        PCX_UNROLL
        for (int i = 0; i < SPMM_LANES; i++)
            _mm256_storeu_ps(part + i * SPMM_LANES, t[i]);
        act_avx2_row(part, part, SPMM_LANES * SPMM_LANES, p->tail.act, p->tail.act_params);
    }
    PCX_UNROLL
    for (int i = 0; i < SPMM_LANES; i++, out += p->ldo) { /* max and min return their second argument if one is NaN */
        if (how == BOUNDS)
            t[i] = _mm256_min_ps(high, _mm256_max_ps(low, t[i]));
        else if (how == HARDSWISH)
            t[i] = act_avx2_apply(t[i], PCX_ACT_HARDSWISH, NULL);
        else if (how == SLOW)
            t[i] = _mm256_loadu_ps(part + i * SPMM_LANES);
        _mm256_storeu_ps(out, t[i]);
    }
}

/* The same for less than eight columns or pixels, and any strides. */
PCX_NOINLINE static void spmm_avx2_put_few(const pcx_spmm_args *p, const float *sums, size_t width, size_t column,
                                              size_t columns, size_t pixel, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++) {
        float part[SPMM_LANES] = { 0 };
        for (size_t c = 0; c < columns; c++) {
            part[c] = sums[c * width + i];
            part[c] += p->tail.residual ? p->tail.residual[(pixel + i) * p->tail.ldr + (column + c) * p->lds] : 0;
        }
        act_avx2_row(part, part, SPMM_LANES, p->tail.act, p->tail.act_params);
        for (size_t c = 0; c < columns; c++)
            p->out[(pixel + i) * p->ldo + (column + c) * p->ldc] = part[c];
    }
}

/*
 * The epilogue of the rows [first, last) of w for a panel of pixels.  The last eight columns or pixels may overlap
 * those before: the same numbers come out.
 */
PCX_INLINE void spmm_avx2_put_block(const pcx_spmm_args *p, const float *sums, size_t lanes, size_t width,
                                    size_t first, size_t last, size_t pixel, size_t pixels, const int how)
{
    const size_t columns = last - first;
    float bounds[2];
    act_bounds(p->tail.act, p->tail.act_params, bounds, bounds + 1);
    const __m256 low = _mm256_set1_ps(bounds[0]), high = _mm256_set1_ps(bounds[1]);
    for (size_t at = 0, done = 0; done < pixels; at += SPMM_LANES) {
        const size_t from = spmm_pixel(at, pixels, lanes), to = pixel + from;
        if (from + SPMM_LANES <= done)
            continue;
        done = from + SPMM_LANES;
        for (size_t i = 0; i < columns; i += SPMM_LANES) {
            const size_t c = spmm_back(i, columns, SPMM_LANES);
            if (PCX_LIKELY(how != FEW && columns >= SPMM_LANES && pixels >= SPMM_LANES))
                spmm_avx2_put_tile(p, sums + c * width + at, width, first + c, to, how, low, high);
            else
                spmm_avx2_put_few(p, sums + c * width + at, width, first + c, min_size(SPMM_LANES, columns), to,
                                  min_size(SPMM_LANES, pixels));
        }
    }
}

void spmm_avx2_finish(const pcx_spmm_args *p, const float *sums, size_t lanes, size_t width, size_t first, size_t last,
                      size_t pixel, size_t pixels)
{
    if (p->ldc != 1 || (p->tail.residual && p->lds != 1))
        spmm_avx2_put_block(p, sums, lanes, width, first, last, pixel, pixels, FEW);
    else if (p->tail.act == PCX_ACT_NONE)
        spmm_avx2_put_block(p, sums, lanes, width, first, last, pixel, pixels, PLAIN);
    else if (p->tail.act <= PCX_ACT_CLIP)
        spmm_avx2_put_block(p, sums, lanes, width, first, last, pixel, pixels, BOUNDS);
    else if (p->tail.act == PCX_ACT_HARDSWISH)
        spmm_avx2_put_block(p, sums, lanes, width, first, last, pixel, pixels, HARDSWISH);
    else
        spmm_avx2_put_block(p, sums, lanes, width, first, last, pixel, pixels, SLOW);
}

void spmm_avx2_gather(const pcx_spmm_args *p, const float *a, size_t pixels, size_t lanes, size_t width, float *to)
{
    if (p->ldk == 1) {
        spmm_transpose_in(a, p->lda, pixels, lanes, to, width, p->k);
    } else if (p->lda == 1 && pixels >= SPMM_LANES) {
        for (size_t q = 0; q < p->k; q++)
            for (size_t i = 0; i < width; i += SPMM_LANES)
                _mm256_store_ps(to + q * width + i, _mm256_loadu_ps(a + q * p->ldk + spmm_pixel(i, pixels, lanes)));
    } else {
        for (size_t q = 0; q < p->k; q++)
            for (size_t i = 0; i < width; i++) {
                const size_t at = spmm_pixel(i - i % SPMM_LANES, pixels, lanes) + i % SPMM_LANES;
                to[q * width + i] = a[min_size(at, pixels - 1) * p->lda + q * p->ldk];
            }
    }
}

PCX_HIDDEN extern const spmm_micro spmm_micro_avx2;
const spmm_micro spmm_micro_avx2 = { SPMM_LANES, SPMM_VECTORS, 0, 0, spmm_avx2_by_vectors, spmm_avx2_gather,
                                     spmm_avx2_finish };

PCX_TARGET_END
#endif
