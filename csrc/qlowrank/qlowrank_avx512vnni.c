/*
 * qlowrank_avx512vnni.c - the second product in tiles of up to 12 rows x 2 panels: vpdpwssd adds two products of int16
 * to an int32, without saturation.
 */
#include "../common/qepilogue_avx512.h"
#include "qlowrank.h"

#if PCX_X86
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")

enum { QLOWRANK_V_ROWS = 12 };

static void qlowrank_avx512vnni_halve(const pcx_qlowrank_args *p, const qlowrank_workspace *r, size_t rows)
{
    const __m512 low = _mm512_set1_ps(-QLOWRANK_MOST), high = _mm512_set1_ps(QLOWRANK_MOST);
    const size_t width = qlowrank_width(p);
    for (size_t j = 0; j < width; j += QGEMM_NR) {
        const __mmask16 some = (__mmask16)(0xffff >> (QGEMM_NR - min_size(QGEMM_NR, p->r - j)));
        const __m512 scale = _mm512_maskz_loadu_ps(some, p->mid_scale + j);
        for (size_t i = 0; i < rows; i++) {
            const __m512i sum = _mm512_maskz_loadu_epi32(some, r->sum + i * width + j);
            const __m512 v = _mm512_min_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), high); /* NaN: high */
            const __m256i half = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(_mm512_max_ps(v, low)));
            _mm256_storeu_si256((__m256i *)(void *)(r->h + i * width + j), half);
        }
    }
}

/* to[mr][np][16] = bias + mr rows of h, `width` apart, times np panels of `steps` steps. */
PCX_INLINE void qlowrank_avx512vnni_tile(const int mr, const int np, const int16_t *h, size_t width, const int16_t *v,
                                         size_t steps, const int32_t *bias, int32_t *to)
{
    const size_t v_panel = steps * QLOWRANK_STEP;
    __m512i sum[QLOWRANK_V_ROWS][QLOWRANK_PANELS];
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int x = 0; x < np; x++)
            sum[r][x] = _mm512_load_si512(bias + x * QGEMM_NR);
    for (; steps; steps--, h += 2, v += QLOWRANK_STEP) {
        const int16_t *row = h;
        __m512i b[QLOWRANK_PANELS];
        PCX_UNROLL for (int x = 0; x < np; x++)
            b[x] = _mm512_loadu_si512(v + (size_t)x * v_panel);
        PCX_UNROLL for (int r = 0; r < mr; r++) { /* rows at row + {0, 1, 2} width: that takes few registers */
            int32_t two;
            memcpy(&two, row + (size_t)(r % 3) * width, sizeof two);
            const __m512i a = _mm512_set1_epi32(two);
            PCX_UNROLL for (int x = 0; x < np; x++)
                PCX_DPWSSD(sum[r][x], a, b[x]);
            if (r % 3 == 2 && r + 1 < mr) {
                row += 3 * width;
                PCX_OPAQUE(row);
            }
        }
    }
    PCX_UNROLL for (int r = 0; r < mr; r++)
        PCX_UNROLL for (int x = 0; x < np; x++)
            _mm512_store_si512(to + (r * np + x) * QGEMM_NR, sum[r][x]);
}

#define TILE(mr, np) \
    static PCX_NOINLINE void qlowrank_avx512vnni_##mr##x##np(const int16_t *h, size_t width, const int16_t *v, \
                                                             size_t steps, const int32_t *bias, int32_t *to) \
    { \
        qlowrank_avx512vnni_tile(mr, np, h, width, v, steps, bias, to); \
    }
#define NAMES(np) \
    { qlowrank_avx512vnni_2x##np, qlowrank_avx512vnni_4x##np, qlowrank_avx512vnni_6x##np, \
      qlowrank_avx512vnni_8x##np, qlowrank_avx512vnni_10x##np, qlowrank_avx512vnni_12x##np }
TILE(2, 1) TILE(4, 1) TILE(6, 1) TILE(8, 1) TILE(10, 1) TILE(12, 1)
TILE(2, 2) TILE(4, 2) TILE(6, 2) TILE(8, 2) TILE(10, 2) TILE(12, 2)
/* [panels - 1][(rows - 1) / 2]: an odd number of rows goes with the one after it. */
static void (*const qlowrank_avx512vnni_tiles[][QLOWRANK_V_ROWS / 2])(const int16_t *, size_t, const int16_t *, size_t,
                                                                     const int32_t *, int32_t *) = { NAMES(1),
                                                                                                     NAMES(2) };
#undef TILE
#undef NAMES

PCX_INLINE void qlowrank_avx512vnni_panels(const pcx_qlowrank_args *p, const qepilogue *tail,
                                           const qlowrank_workspace *r, size_t i, size_t rows, size_t panel,
                                           size_t count, const int vbmi)
{
    const size_t steps = ceil_div(p->r, 2), width = qlowrank_width(p), j = panel * QGEMM_NR;
    const size_t cols = min_size(count * QGEMM_NR, p->n - j), ldo = p->ldo * tail->bytes;
    const qepilogue_avx512_columns c = qepilogue_avx512_columns_make(tail, j, cols, vbmi);
    const int8_t *v = p->v + panel * steps * QLOWRANK_STEP;
    _Alignas(64) int32_t bias[QLOWRANK_PANELS * QGEMM_NR] = { 0 };
    _Alignas(64) int32_t sum[QLOWRANK_V_ROWS * QLOWRANK_PANELS * QGEMM_NR];
    uint8_t *out = (uint8_t *)p->out + i * ldo + j * tail->bytes;
    if (p->tail.bias)
        memcpy(bias, p->tail.bias + j, cols * sizeof *bias);
    for (size_t x = 0; x < count * steps * QLOWRANK_STEP; x += QLOWRANK_STEP)
        _mm512_storeu_si512(r->wide + x,
                            _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(v + x))));
    for (size_t x = 0, some; x < rows; x += some) {
        some = ceil_div(rows - x, ceil_div(rows - x, QLOWRANK_V_ROWS)); /* as equal as can be */
        qlowrank_avx512vnni_tiles[count - 1][(some - 1) / 2](r->h + x * width, width, r->wide, steps, bias, sum);
        qepilogue_avx512_rows(&c, i + x, some, sum, count * QGEMM_NR, out + x * ldo, ldo);
    }
}

static void qlowrank_avx512vnni_second(const pcx_qlowrank_args *p, const qepilogue *tail, const qlowrank_workspace *r,
                                       size_t i, size_t rows, size_t panel, size_t count)
{
    qlowrank_avx512vnni_panels(p, tail, r, i, rows, panel, count, 0);
}

static void qlowrank_avx512vnni_second_vbmi(const pcx_qlowrank_args *p, const qepilogue *tail, const qlowrank_workspace *r,
                                       size_t i, size_t rows, size_t panel, size_t count)
{
    qlowrank_avx512vnni_panels(p, tail, r, i, rows, panel, count, 1);
}

PCX_HIDDEN extern const qgemm_micro qgemm_micro_avx512vnni;
PCX_HIDDEN extern const qlowrank_micro qlowrank_micro_avx512vnni, qlowrank_micro_avx512vbmi;
const qlowrank_micro qlowrank_micro_avx512vnni = { &qgemm_micro_avx512vnni, QLOWRANK_PANELS, qlowrank_avx512vnni_halve,
                                                   qlowrank_avx512vnni_second };
const qlowrank_micro qlowrank_micro_avx512vbmi = { &qgemm_micro_avx512vnni, QLOWRANK_PANELS, qlowrank_avx512vnni_halve,
                                                   qlowrank_avx512vnni_second_vbmi };

PCX_TARGET_END
#endif
