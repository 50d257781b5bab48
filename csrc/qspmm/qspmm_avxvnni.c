/* qspmm_avxvnni.c - eight pixels a vector; 6 vectors of two outputs are 12 sums.  The rest is AVX2's. */
#include "qspmm.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma,avxvnni")

PCX_INLINE __m256i qspmm_avxvnni_load(const void *at) { return _mm256_load_si256(at); }
PCX_INLINE void qspmm_avxvnni_store(void *at, __m256i x) { _mm256_store_si256(at, x); }

#define QSPMM(name)      qspmm_avxvnni_##name
#define QSPMM_VECTORS    6
#define QSPMM_VECTOR     __m256i
#define QSPMM_LOAD       qspmm_avxvnni_load
#define QSPMM_STORE      qspmm_avxvnni_store
#define QSPMM_SET1       _mm256_set1_epi32
#define QSPMM_SUB        _mm256_sub_epi32
#define QSPMM_MUL        _mm256_mullo_epi32
#define QSPMM_MORE(p, j) 0
#define QSPMM_DOTS(sum, x, w)                     \
    do {                                          \
        sum = _mm256_dpbusd_avx_epi32(sum, x, w); \
        PCX_KEEP(sum);                            \
    } while (0)
#include "qspmm_vnni.h"

PCX_HIDDEN extern const qspmm_micro qspmm_micro_avxvnni;
const qspmm_micro qspmm_micro_avxvnni = { QSPMM_PX, 1, QSPMM_VECTORS, { 0, 1, 2, 3, 4, 5, 6, 7 }, qspmm_avx2_gather,
                                          qspmm_avxvnni_multiply, qspmm_avx2_finish };

PCX_TARGET_END
#endif
