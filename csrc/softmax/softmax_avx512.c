/* softmax_avx512.c - sixteen elements a vector: softmax_row.h. */
#include "softmax.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET(PCX_TARGET_AVX512)

PCX_INLINE __mmask16 softmax_avx512_first(size_t count) { return (__mmask16)(0xffff >> (16 - min_size(count, 16))); }

PCX_INLINE __m512 softmax_avx512_load_some(__mmask16 some, __m512 others, const float *at)
{
    return _mm512_mask_loadu_ps(others, some, at);
}

#define SOFTMAX_JOIN(op, t)                                                                                           \
    do {                                                                                                              \
        const __m512 all_ = _mm512_##op##_ps(t[0], t[1]);                                                             \
        const __m256 half_ = _mm256_##op##_ps(_mm512_castps512_ps256(all_), _mm512_extractf32x8_ps(all_, 1));         \
        __m128 four_ = _mm_##op##_ps(_mm256_castps256_ps128(half_), _mm256_extractf128_ps(half_, 1));                 \
        four_ = _mm_##op##_ps(four_, _mm_movehl_ps(four_, four_));                                                    \
        return _mm_cvtss_f32(_mm_##op##_ps(four_, _mm_movehdup_ps(four_)));                                           \
    } while (0)
PCX_INLINE float softmax_avx512_max(const __m512 t[2]) { SOFTMAX_JOIN(max, t); }
PCX_INLINE float softmax_avx512_add(const __m512 t[2]) { SOFTMAX_JOIN(add, t); }

#define SOFTMAX(name)      softmax_avx512_##name
#define SOFTMAX_VECTOR     __m512
#define SOFTMAX_SET        _mm512_set1_ps
#define SOFTMAX_LOAD       _mm512_loadu_ps
#define SOFTMAX_STORE      _mm512_storeu_ps
#define SOFTMAX_ADD        _mm512_add_ps
#define SOFTMAX_SUB        _mm512_sub_ps
#define SOFTMAX_MUL        _mm512_mul_ps
#define SOFTMAX_MAX        _mm512_max_ps
#define SOFTMAX_FMA        _mm512_fmadd_ps
#define SOFTMAX_FNMA       _mm512_fnmadd_ps
#define SOFTMAX_POWER(x)   _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 23))
#define SOFTMAX_SOME       __mmask16
#define SOFTMAX_FIRST      softmax_avx512_first
#define SOFTMAX_LOAD_SOME  softmax_avx512_load_some
#define SOFTMAX_STORE_SOME _mm512_mask_storeu_ps
#include "softmax_row.h"

PCX_TARGET_END
#endif
