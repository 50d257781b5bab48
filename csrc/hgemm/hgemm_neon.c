/*
 * hgemm_neon.c - sgemm's tiles with weights that are widened in registers: of few rows, half the bytes are read.
 * llvm-mca 19, 6 x 16, MAC a cycle on cortex-a72, neoverse-n1, neoverse-v1: float16 3.2, 5.3, 10.1 (fcvtl has one pipe of two),
 * bfloat16 3.7, 6.7, 12.7.
 */
#include "hgemm.h"

#include "../sgemm/sgemm_tile_neon.h"

#if PCX_ARM64

SGEMM_NEON_STRIPS(hgemm_neon_f16, SGEMM_F16)
SGEMM_NEON_STRIPS(hgemm_neon_bf16, SGEMM_BF16)

static void hgemm_neon_stream(const pcx_hgemm_args *p, const sgemm_rows *r, size_t begin, size_t end)
{
    const sgemm_target to = { p->w, p->ldw, p->n, &p->tail };
    sgemm_neon_panels(r, &to, begin, end, p->wt == PCX_BF16 ? &hgemm_neon_bf16 : &hgemm_neon_f16);
}

static void hgemm_neon_widen(const uint16_t *w, float *out, size_t count, int brain)
{
    for (size_t i = 0; i < count; i += SGEMM_NEON_LANES) {
        const uint16x4_t x = vld1_u16(w + i);
        vst1q_f32(out + i, brain ? vreinterpretq_f32_u32(vshll_n_u16(x, 16)) : vcvt_f32_f16(vreinterpret_f16_u16(x)));
    }
}

PCX_HIDDEN extern const hgemm_micro hgemm_micro_neon;
const hgemm_micro hgemm_micro_neon = { hgemm_neon_stream, hgemm_neon_widen, sgemm_rows_neon };

#endif
