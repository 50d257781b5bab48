/*
 * pool_neon.c - 32, then 4 channels at a time; the operations and their order are the scalar ones, whose sums compilers keep in
 * memory and whose maximum takes them four instructions: fmax is one, and returns a NaN if there is one.
 */
#include "pool.h"

#if PCX_ARM64
#include <arm_neon.h>

enum { LANES = 4, WIDE = 8 };

/* The sums or the maximum of nv vectors of channels, from c on. */
PCX_INLINE void pool_neon_vectors(const pool_window *w, size_t c, const int nv, const int max, float divisor, float *out)
{
    float32x4_t all[WIDE], row[WIDE];
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        all[v] = vdupq_n_f32(max ? -INFINITY : 0);
    for (size_t y = 0; y < w->rows; y++) {
        const float *x = w->x + y * w->row_step + c;
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            row[v] = vld1q_f32(x + v * LANES);
        for (size_t i = 1; i < w->columns; i++) {
            x += w->column_step;
            PCX_UNROLL
            for (int v = 0; v < nv; v++) {
                const float32x4_t cell = vld1q_f32(x + v * LANES);
                row[v] = max ? vmaxq_f32(row[v], cell) : vaddq_f32(row[v], cell);
            }
        }
        PCX_UNROLL
        for (int v = 0; v < nv; v++)
            all[v] = max ? vmaxq_f32(all[v], row[v]) : vaddq_f32(all[v], row[v]);
    }
    PCX_UNROLL
    for (int v = 0; v < nv; v++)
        vst1q_f32(out + c + v * LANES, max ? all[v] : vdivq_f32(all[v], vdupq_n_f32(divisor)));
}

PCX_INLINE void pool_neon_some(const pool_window *w, size_t c, size_t channels, const int max, float divisor, float *out)
{
    for (; c + LANES * WIDE <= channels; c += LANES * WIDE)
        pool_neon_vectors(w, c, WIDE, max, divisor, out);
    for (; c + LANES <= channels; c += LANES)
        pool_neon_vectors(w, c, 1, max, divisor, out);
    if (c < channels && channels >= LANES) /* some channels a second time, with the same results */
        pool_neon_vectors(w, channels - LANES, 1, max, divisor, out);
    else if (c < channels)
        pool_channels(w, c, channels, max, divisor, out);
}

PCX_INLINE void pool_neon_channels(const pool_window *w, size_t c, size_t channels, int max, float divisor, float *out)
{
    if (max)
        pool_neon_some(w, c, channels, 1, divisor, out);
    else
        pool_neon_some(w, c, channels, 0, divisor, out);
}

void pool_neon(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    pool_run(args, begin, end, pool_neon_channels);
}

#endif
