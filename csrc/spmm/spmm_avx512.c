/*
 * spmm_avx512.c - sixteen pixels a vector, four vectors a panel: a panel of more channels, which no longer fits the L1
 * cache, is then read by fewer rows of w at a time.  While it does fit, eight vectors take each weight further.
 */
#include "spmm.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET(PCX_TARGET_AVX512)

PCX_INLINE __m512 spmm_avx512_broadcast(const float *w) { return _mm512_set1_ps(*w); }

#define SPMM(name)     spmm_avx512_##name
#define SPMM_VECTOR    __m512
#define SPMM_LOAD      _mm512_loadu_ps
#define SPMM_STORE     _mm512_storeu_ps
#define SPMM_BROADCAST spmm_avx512_broadcast
#define SPMM_FMA       _mm512_fmadd_ps
#define SPMM_ADD       _mm512_add_ps
#define SPMM_MIN       _mm512_min_ps
#define SPMM_MAX       _mm512_max_ps
#include "spmm_multiply.h"

PCX_HIDDEN extern const spmm_micro spmm_micro_avx512;
const spmm_micro spmm_micro_avx512 = { SPMM_LANES, 4, 65, 8, spmm_avx512_by_vectors, spmm_avx2_gather,
                                       spmm_avx2_finish };

PCX_TARGET_END
#endif
