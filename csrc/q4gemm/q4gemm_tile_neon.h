/*
 * q4gemm_tile_neon.h - 4-bit weights on AArch64: tiles of 3 rows x 16 columns, whose sums of a group are int32 and exact,
 * as 128 * 15 * 65536 < 2^31.  Codes less their zero points are i8 in [-15, 15], activations u8 less 128.  Few rows unpack
 * codes in registers; for many a panel is unpacked once.  A template, included once in a file, which defines
 *
 *   Q4N(name)                   names of the functions
 *   Q4N_DOT(sum, w, x, lane)    sum += four products of each four i8 of w with those of lane `lane`, a digit, of x
 *
 * and puts Q4N_MICRO into its micro-kernel.
 */
#include "../common/qepilogue_neon.h"
#include "q4gemm_codes_neon.h"

enum { Q4N_MR = 3, Q4N_BYTES = 64 /* of an unpacked step */ };

/* ---- many rows: w[step][16][4], scales as they are ---- */

static void Q4N(unpack)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t panel, size_t count)
{
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    const uint8_t *from = p->w + panel * steps * Q4_STEP;
    int8_t *to = m->w;
    (void)count; /* one */
    for (size_t g = 0, s = 0; g < groups; g++) {
        int8x16_t zero[4], codes[4];
        q4gemm_codes_neon_zeros(p, (panel * groups + g) * Q4_NR, zero);
        for (const size_t end = q4gemm_group_end(p, g, groups, steps); s < end; s++, from += Q4_STEP, to += Q4N_BYTES) {
            q4gemm_codes_neon_codes(from, zero, codes);
            PCX_UNROLL for (int v = 0; v < 4; v++)
                vst1q_s8(to + 16 * v, codes[v]);
        }
    }
    for (size_t at = 0; at < groups * Q4_NR; at += 4)
        vst1q_f32(m->scale + at, q4gemm_codes_neon_scale(p, panel * groups * Q4_NR + at));
}

/* ---- tiles ---- */

/* Sums of mr rows += step `lane` of those that x holds. */
#define STEP(lane)                                                                 \
    do {                                                                           \
        int8x16_t b[4];                                                            \
        if (packed)                                                                \
            q4gemm_codes_neon_codes(w.packed + (lane) * Q4_STEP, zero, b);                      \
        else                                                                       \
            PCX_UNROLL for (int v = 0; v < 4; v++)                                 \
                b[v] = vld1q_s8(w.codes + (lane) * Q4N_BYTES + 16 * v);            \
        PCX_UNROLL for (int v = 0; v < 4; v++)                                     \
            PCX_UNROLL for (int r = 0; r < mr; r++)                                \
                Q4N_DOT(acc[r][v], b[v], x[r], lane);                              \
    } while (0)

/* mr rows times a panel, packed or as `unpack` left it. */
PCX_INLINE void Q4N(tile)(const int mr, const int packed, const pcx_q4gemm_args *p, const q4gemm_workspace *m,
                          const uint8_t *const *rows, size_t panel, q4gemm_sums v)
{
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    const uint8x16_t flip = vdupq_n_u8(128);
    struct {
        const uint8_t *packed;
        const int8_t *codes;
    } w = { packed ? p->w + panel * steps * Q4_STEP : NULL, m->w };
    const uint8_t *row[Q4N_MR];
    float32x4_t total[Q4N_MR][4];
    size_t s = 0;
    PCX_UNROLL for (int r = 0; r < mr; r++) {
        row[r] = rows[r];
        PCX_UNROLL for (int c = 0; c < 4; c++)
            total[r][c] = vdupq_n_f32(0);
    }
    for (size_t g = 0; g < groups; g++) {
        const size_t end = q4gemm_group_end(p, g, groups, steps), at = (panel * groups + g) * Q4_NR;
        int32x4_t acc[Q4N_MR][4];
        int8x16_t zero[4], x[Q4N_MR];
        if (packed)
            q4gemm_codes_neon_zeros(p, at, zero);
        PCX_UNROLL for (int r = 0; r < mr; r++)
            PCX_UNROLL for (int c = 0; c < 4; c++)
                acc[r][c] = vdupq_n_s32(0);
        for (; s + 4 <= end; s += 4) {
            PCX_UNROLL for (int r = 0; r < mr; r++) {
                x[r] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(row[r]), flip));
                row[r] += 16;
            }
            STEP(0); STEP(1); STEP(2); STEP(3);
            w.packed += packed ? 4 * Q4_STEP : 0;
            w.codes += packed ? 0 : 4 * Q4N_BYTES;
        }
        for (; s < end; s++) {
            PCX_UNROLL for (int r = 0; r < mr; r++) {
                uint32_t four;
                memcpy(&four, row[r], sizeof four);
                x[r] = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), flip));
                row[r] += 4;
            }
            STEP(0);
            w.packed += packed ? Q4_STEP : 0;
            w.codes += packed ? 0 : Q4N_BYTES;
        }
        PCX_UNROLL for (int c = 0; c < 4; c++) {
            const float32x4_t by =
                packed ? q4gemm_codes_neon_scale(p, at + (size_t)(4 * c)) : vld1q_f32(m->scale + g * Q4_NR + (size_t)(4 * c));
            PCX_UNROLL for (int r = 0; r < mr; r++)
                total[r][c] = vaddq_f32(total[r][c], vmulq_f32(by, vcvtq_f32_s32(acc[r][c])));
        }
    }
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int c = 0; c < 4; c++)
            vst1q_f32(v[r] + 4 * c, total[r][c]);
}
#undef STEP

#define TILE(mr, packed) \
    static PCX_NOINLINE void Q4N(tile_##mr##_##packed)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, \
                                                       const uint8_t *const *rows, size_t panel, q4gemm_sums v) \
    { \
        Q4N(tile)(mr, packed, p, m, rows, panel, v); \
    }
TILE(1, 0) TILE(2, 0) TILE(3, 0) TILE(1, 1) TILE(2, 1) TILE(3, 1)
#undef TILE

static void Q4N(run)(const int packed, const pcx_q4gemm_args *p, const q4gemm_workspace *m, const uint8_t *const *row,
                     size_t rows, size_t panel, q4gemm_sums v)
{
    static void (*const all[2][1 + Q4N_MR])(const pcx_q4gemm_args *, const q4gemm_workspace *, const uint8_t *const *,
                                            size_t, q4gemm_sums) = {
        { NULL, Q4N(tile_1_0), Q4N(tile_2_0), Q4N(tile_3_0) }, { NULL, Q4N(tile_1_1), Q4N(tile_2_1), Q4N(tile_3_1) }
    };
    for (size_t r = 0; r < rows; r += Q4N_MR)
        all[packed][min_size(Q4N_MR, rows - r)](p, m, row + r, panel, v + r);
}

static void Q4N(run_many)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, const uint8_t *const *row, size_t rows,
                          size_t count, q4gemm_sums v)
{
    (void)count; /* one */
    Q4N(run)(0, p, m, row, rows, 0, v);
}

static void Q4N(run_few)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t rows, size_t panel, size_t count,
                         q4gemm_sums v)
{
    (void)count; /* one */
    Q4N(run)(1, p, m, m->row, rows, panel, v);
}

/* Rows are made signed where they are read. */
static void Q4N(sign)(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t r) { (void)p, (void)m, (void)r; }

static void Q4N(finish)(const pcx_q4gemm_args *p, const qepilogue *tail, size_t panel, size_t i, size_t rows, q4gemm_sums v)
{
    const size_t j = panel * Q4_NR, cols = min_size(Q4_NR, p->n - j);
    for (size_t r = 0; r < rows; r++, i++) {
        const float zero = (float)(int32_t)((uint32_t)p->azp[i * p->ldz] - 128), scale = p->ascale[i * p->lds];
        for (size_t c = 0; c < cols; c++) {
            v[r][c] = (v[r][c] - zero * p->colsum[j + c]) * scale;
            v[r][c] = p->bias ? v[r][c] + p->bias[j + c] : v[r][c];
        }
        qepilogue_floats(tail, i, j, cols, v[r], (char *)p->out + (i * p->ldo + j) * tail->bytes);
    }
}

#define Q4N_MICRO                                                                                          \
    {                                                                                                      \
        .few = 1, .many = 1, .by_group = 1, .sign = Q4N(sign), .run_few = Q4N(run_few), .unpack = Q4N(unpack), \
        .run_many = Q4N(run_many), .finish = Q4N(finish)                                                   \
    }
