/*
 * q4gemm_avxvnni.c - a vector is half a panel; tiles of 6 rows x 1 panel are 12 sums of a group, and totals wait in
 * memory; one or two rows meet two panels at a time, since a sum waits five cycles for the one before.
 */
#include "q4gemm.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma,f16c,avxvnni")

PCX_INLINE __m256i q4gemm_avxvnni_load(const void *from) { return _mm256_loadu_si256(from); }
PCX_INLINE void q4gemm_avxvnni_store(void *to, __m256i x) { _mm256_storeu_si256(to, x); }

PCX_INLINE __m256i q4gemm_avxvnni_codes(const uint8_t *w, const int high)
{
    const __m256i both = q4gemm_avxvnni_load(w);
    return _mm256_and_si256(high ? _mm256_srli_epi16(both, 4) : both, _mm256_set1_epi8(15));
}

PCX_INLINE __m256i q4gemm_avxvnni_zeros(const uint8_t *zero)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)zero));
}

PCX_INLINE __m256 q4gemm_avxvnni_halves(const uint16_t *scale)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)scale));
}

#define Q4V(name)  q4gemm_avxvnni_##name
#define Q4V_ODD    0
#define Q4V_INT    __m256i
#define Q4V_FLOAT  __m256
#define Q4V_LOAD   q4gemm_avxvnni_load
#define Q4V_STORE  q4gemm_avxvnni_store
#define Q4V_SET1   _mm256_set1_epi32
#define Q4V_SET1_8 _mm256_set1_epi8
#define Q4V_SUB    _mm256_sub_epi32
#define Q4V_SUB_8  _mm256_sub_epi8
#define Q4V_MUL    _mm256_mullo_epi32
#define Q4V_LOADF  _mm256_loadu_ps
#define Q4V_STOREF _mm256_storeu_ps
#define Q4V_ADDF   _mm256_add_ps
#define Q4V_MULF   _mm256_mul_ps
#define Q4V_CVT    _mm256_cvtepi32_ps
#define Q4V_DOTS(sum, u, s)                       \
    do {                                          \
        sum = _mm256_dpbusd_avx_epi32(sum, u, s); \
        PCX_KEEP(sum);                            \
    } while (0)
#include "q4gemm_vnni.h"

PCX_HIDDEN extern const q4gemm_micro q4gemm_micro_avxvnni;
const q4gemm_micro q4gemm_micro_avxvnni = { 2, 1, 1, q4gemm_avxvnni_sign, q4gemm_avxvnni_run_few,
                                            q4gemm_avxvnni_unpack, q4gemm_avxvnni_run_many, q4gemm_tail_avx2 };

PCX_TARGET_END
#endif
