/* q4gemm_tail_avx2.c - from the float sums of a panel to outputs. */
#include "../common/qepilogue_avx2.h"
#include "q4gemm.h"

#if PCX_X86
PCX_TARGET("avx2,fma,f16c")

/* A panel's columns beyond n are 0. */
typedef struct {
    qepilogue_avx2_columns columns;
    _Alignas(32) float colsum[Q4_NR], bias[Q4_NR],
        offset[Q4_NR]; /* offset: zero point times colsum, if one for all rows */
    int bounds; /* all 16 columns to floats, with a min and a max at most */
    float low, high, plus; /* plus what makes a -0 of relu 0 */
} q4gemm_tail_ending;

static q4gemm_tail_ending q4gemm_tail_avx2_ending_make(const pcx_q4gemm_args *p, const qepilogue *tail, size_t j)
{
    const size_t cols = min_size(Q4_NR, p->n - j);
    q4gemm_tail_ending e = { .columns = qepilogue_avx2_columns_make(tail, j, cols) };
    e.columns.skips &= ~QT_SMALL; /* that is for sums times scales */
    memcpy(e.colsum, p->colsum + j, cols * sizeof *e.colsum);
    for (size_t c = 0; !p->ldz && c < cols; c++)
        e.offset[c] = (float)(int32_t)((uint32_t)p->azp[0] - 128) * e.colsum[c];
    if (p->bias)
        memcpy(e.bias, p->bias + j, cols * sizeof *e.bias);
    e.bounds = tail->mode == QT_F32 && cols == Q4_NR && p->output.act <= PCX_ACT_CLIP;
    act_bounds(p->output.act, p->output.act_params, &e.low, &e.high);
    e.plus = p->output.act == PCX_ACT_RELU ? 0.0f : -0.0f;
    return e;
}

/* Columns h to h + 8 of row i: sums to steps of the output, still without its bias. */
PCX_INLINE __m256 q4gemm_tail_avx2_scaled(const int by_row, const pcx_q4gemm_args *p, const q4gemm_tail_ending *e, size_t i,
                                     const float *v, size_t h)
{
    const __m256 scale = _mm256_broadcast_ss(p->ascale + i * p->lds);
    if (!by_row)
        return _mm256_mul_ps(_mm256_sub_ps(_mm256_load_ps(v + h), _mm256_load_ps(e->offset + h)), scale);
    const __m256 zero = _mm256_set1_ps((float)(int32_t)((uint32_t)p->azp[i * p->ldz] - 128));
    const __m256 y = _mm256_sub_ps(_mm256_load_ps(v + h), _mm256_mul_ps(zero, _mm256_load_ps(e->colsum + h)));
    return _mm256_mul_ps(y, scale);
}

/* Rows [i, i + rows) of v to bytes. */
PCX_INLINE void q4gemm_tail_avx2_bytes(const int by_row, const pcx_q4gemm_args *p, const q4gemm_tail_ending *e, size_t i,
                                  size_t rows, q4gemm_sums v, uint8_t *out)
{
    const qepilogue_avx2_columns *const c = &e->columns;
    const __m256 bias[2] = { _mm256_load_ps(e->bias), _mm256_load_ps(e->bias + 8) };
    const uint8_t *residual = qepilogue_avx2_residual(c, i);
    const size_t next = residual ? 2 * p->output.ldr : 0;
    for (size_t r = 0; r < rows; r += 2, residual += next) {
        const size_t two = r + 1 < rows;
        __m256 y[4];
        PCX_UNROLL
        for (size_t x = 0; x < 4; x++) {
            const size_t at = r + (x / 2 && two);
            y[x] = _mm256_add_ps(q4gemm_tail_avx2_scaled(by_row, p, e, i + at, v[at], x % 2 * 8), bias[x % 2]);
        }
        const __m256i bytes = qepilogue_avx2_in_order(qepilogue_avx2_bytes(y, &c->clamp, c->skips));
        qepilogue_avx2_put(c, bytes, residual, (int)two, out + r * p->ldo, p->ldo);
    }
    if (c->rise)
        qepilogue_avx2_lut(c->rise, out, rows, p->ldo, 0);
}

void q4gemm_tail_avx2(const pcx_q4gemm_args *p, const qepilogue *tail, size_t panel, size_t i, size_t rows,
                      q4gemm_sums v)
{
    const q4gemm_tail_ending e = q4gemm_tail_avx2_ending_make(p, tail, panel * Q4_NR);
    char *out = (char *)p->out + (i * p->ldo + panel * Q4_NR) * tail->bytes;
    if (e.columns.plain) {
        if (p->ldz)
            q4gemm_tail_avx2_bytes(1, p, &e, i, rows, v, (uint8_t *)out);
        else
            q4gemm_tail_avx2_bytes(0, p, &e, i, rows, v, (uint8_t *)out);
        return;
    }
    for (size_t r = 0; r < rows; r++, out += p->ldo * tail->bytes) {
        PCX_UNROLL
        for (size_t h = 0; h < 16; h += 8) {
            __m256 y = q4gemm_tail_avx2_scaled(1, p, &e, i + r, v[r], h);
            y = p->bias ? _mm256_add_ps(y, _mm256_load_ps(e.bias + h)) : y;
            if (e.bounds) { /* max and min return their second argument if one is NaN */
                y = _mm256_min_ps(_mm256_set1_ps(e.high), _mm256_max_ps(_mm256_set1_ps(e.low), y));
                y = _mm256_add_ps(y, _mm256_set1_ps(e.plus));
            }
            _mm256_store_ps(v[r] + h, y);
        }
        if (e.bounds)
            memcpy(out, v[r], sizeof v[r]);
        else
            qepilogue_floats(tail, i + r, e.columns.j, e.columns.cols, v[r], out);
    }
}

PCX_TARGET_END
#endif
