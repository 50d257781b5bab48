/*
 * q4gemm_avx512vnni.c - a vector is a panel's 16 columns; tiles of 6 rows x 2 panels, whose 12 sums of a group and 12
 * totals stay in registers; one or two rows meet four panels at a time.
 */
#include "q4gemm.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")

/* The two halves of a panel, beside each other, by one shift. */
PCX_INLINE __m512i q4gemm_avx512vnni_codes(const uint8_t *w, const int high)
{
    (void)high;
    const __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)w));
    const __m512i by = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(4), 1);
    return _mm512_and_si512(_mm512_srlv_epi32(both, by), _mm512_set1_epi8(15));
}

PCX_INLINE __m512i q4gemm_avx512vnni_zeros(const uint8_t *zero)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)zero));
}

PCX_INLINE __m512 q4gemm_avx512vnni_halves(const uint16_t *scale)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)scale));
}

#define Q4V(name)  q4gemm_avx512vnni_##name
#define Q4V_ODD    1
#define Q4V_INT    __m512i
#define Q4V_FLOAT  __m512
#define Q4V_LOAD   _mm512_loadu_si512
#define Q4V_STORE  _mm512_storeu_si512
#define Q4V_SET1   _mm512_set1_epi32
#define Q4V_SET1_8 _mm512_set1_epi8
#define Q4V_SUB    _mm512_sub_epi32
#define Q4V_SUB_8  _mm512_sub_epi8
#define Q4V_MUL    _mm512_mullo_epi32
#define Q4V_LOADF  _mm512_loadu_ps
#define Q4V_STOREF _mm512_storeu_ps
#define Q4V_ADDF   _mm512_add_ps
#define Q4V_MULF   _mm512_mul_ps
#define Q4V_CVT    _mm512_cvtepi32_ps
#define Q4V_DOTS   PCX_DPBUSD
#include "q4gemm_vnni.h"

PCX_HIDDEN extern const q4gemm_micro q4gemm_micro_avx512vnni;
const q4gemm_micro q4gemm_micro_avx512vnni = { 4, 2, 1, q4gemm_avx512vnni_sign, q4gemm_avx512vnni_run_few,
                                               q4gemm_avx512vnni_unpack, q4gemm_avx512vnni_run_many,
                                               q4gemm_tail_avx2 };

PCX_TARGET_END
#endif
