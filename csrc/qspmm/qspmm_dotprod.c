/* qspmm_dotprod.c - sdot: four pixels a vector, panels of up to 32 pixels; the rest is qspmm_neon.c's. */
#include "qspmm_neon.h"

#if PCX_ARM64
PCX_TARGET(PCX_TARGET_DOTPROD)

PCX_INLINE int32x4_t qspmm_dotprod_load(const void *at) { return vld1q_s32((const int32_t *)at); }
PCX_INLINE void qspmm_dotprod_store(void *at, int32x4_t x) { vst1q_s32((int32_t *)at, x); }

#define QSPMM(name)   qspmm_dotprod_##name
#define QSPMM_VECTORS 8
#define QSPMM_VECTOR  int32x4_t
#define QSPMM_LOAD    qspmm_dotprod_load
#define QSPMM_STORE   qspmm_dotprod_store
#define QSPMM_SET1    vdupq_n_s32
#define QSPMM_SUB     vsubq_s32
#define QSPMM_MUL     vmulq_s32
#define QSPMM_MORE    qspmm_neon_flipped
#define QSPMM_DOTS(sum, x, w) PCX_SDOT(sum, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(w))
#include "qspmm_vnni.h"

PCX_HIDDEN extern const qspmm_micro qspmm_micro_dotprod;
const qspmm_micro qspmm_micro_dotprod = { .lanes = QSPMM_NEON_PX, .min = 1, .max = QSPMM_VECTORS, .order = { 0, 1, 2, 3 },
                                          .gather = qspmm_neon_gather, .multiply = qspmm_dotprod_multiply,
                                          .finish = qspmm_neon_finish };

PCX_TARGET_END
#endif
