/*
 * hgemm_avx512.c - sgemm's tiles with weights that are widened in registers.  With few rows memory is the bottleneck:
 * 6 rows x 4 panels, and 6 x 1 for the panels that are left.
 */
#include "hgemm.h"

#include "../sgemm/sgemm_tile_avx512.h"

#if PCX_X86

PCX_TARGET(PCX_TARGET_AVX512)

SGEMM_TILES_6(hgemm_avx512_f16, SGEMM_F16, 1)
SGEMM_TILES_6(hgemm_avx512_f16, SGEMM_F16, 4)
SGEMM_TILES_6(hgemm_avx512_bf16, SGEMM_BF16, 1)
SGEMM_TILES_6(hgemm_avx512_bf16, SGEMM_BF16, 4)
static sgemm_tile *const hgemm_avx512_f16_1[] = { SGEMM_LIST_6(hgemm_avx512_f16, 1) };
static sgemm_tile *const hgemm_avx512_f16_4[] = { SGEMM_LIST_6(hgemm_avx512_f16, 4) };
static sgemm_tile *const hgemm_avx512_bf16_1[] = { SGEMM_LIST_6(hgemm_avx512_bf16, 1) };
static sgemm_tile *const hgemm_avx512_bf16_4[] = { SGEMM_LIST_6(hgemm_avx512_bf16, 4) };

static void hgemm_avx512_stream(const pcx_hgemm_args *p, const sgemm_rows *r, size_t begin, size_t end)
{
    static const sgemm_shapes shapes[2] = {
        { sizeof(uint16_t), { 0, 6, 0, 0, 6 }, { NULL, hgemm_avx512_f16_1, NULL, NULL, hgemm_avx512_f16_4 } },
        { sizeof(uint16_t), { 0, 6, 0, 0, 6 }, { NULL, hgemm_avx512_bf16_1, NULL, NULL, hgemm_avx512_bf16_4 } },
    };
    const sgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    const int brain = p->wt == PCX_BF16;
    if (p->n <= SGEMM_NARROW) {
        sgemm_narrow_avx2(r, &to, p->w, brain ? SGEMM_BF16 : SGEMM_F16);
        return;
    }
    const size_t fours = (end - begin) / SGEMM_TILE_WIDE * SGEMM_TILE_WIDE;
    sgemm_shapes_avx512(r, &to, begin, begin + fours, SGEMM_TILE_WIDE, &shapes[brain]);
    sgemm_shapes_avx512(r, &to, begin + fours, end, 1, &shapes[brain]);
}

static void hgemm_avx512_widen(const uint16_t *w, float *out, size_t count, int brain)
{
    for (size_t i = 0; i < count; i += SGEMM_NR)
        _mm512_store_ps(out + i, brain ? sgemm_tile_weights((const char *)(w + i), SGEMM_BF16)
                                       : sgemm_tile_weights((const char *)(w + i), SGEMM_F16));
}

PCX_HIDDEN extern const hgemm_micro hgemm_micro_avx512;
const hgemm_micro hgemm_micro_avx512 = { hgemm_avx512_stream, hgemm_avx512_widen, sgemm_rows_avx512 };

PCX_TARGET_END
#endif
