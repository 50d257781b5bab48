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

#define SPMM_HARDSWISH(x) act_avx2_apply(x, PCX_ACT_HARDSWISH, NULL)
#define SPMM_ACT_ROW      act_avx2_row
#include "spmm_ends.h"

PCX_HIDDEN extern const spmm_micro spmm_micro_avx2;
const spmm_micro spmm_micro_avx2 = { SPMM_LANES, SPMM_VECTORS, 0, 0, spmm_avx2_by_vectors, spmm_avx2_gather,
                                     spmm_avx2_finish };

PCX_TARGET_END
#endif
