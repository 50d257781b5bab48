/* softmax_avx2.c - eight elements a vector: softmax_row.h. */
#include "softmax.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma")

PCX_INLINE __m256i softmax_avx2_first(size_t count)
{
    static const int32_t masks[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const void *)(masks + 8 - min_size(count, 8)));
}

PCX_INLINE __m256 softmax_avx2_load_some(__m256i some, __m256 others, const float *at)
{
    return _mm256_blendv_ps(others, _mm256_maskload_ps(at, some), _mm256_castsi256_ps(some));
}

#define SOFTMAX_JOIN(op, t)                                                                               \
    do {                                                                                                  \
        const __m256 all_ = _mm256_##op##_ps(_mm256_##op##_ps(t[0], t[2]), _mm256_##op##_ps(t[1], t[3])); \
        __m128 half_ = _mm_##op##_ps(_mm256_castps256_ps128(all_), _mm256_extractf128_ps(all_, 1));       \
        half_ = _mm_##op##_ps(half_, _mm_movehl_ps(half_, half_));                                        \
        return _mm_cvtss_f32(_mm_##op##_ps(half_, _mm_movehdup_ps(half_)));                               \
    } while (0)
PCX_INLINE float softmax_avx2_max(const __m256 t[4]) { SOFTMAX_JOIN(max, t); }
PCX_INLINE float softmax_avx2_add(const __m256 t[4]) { SOFTMAX_JOIN(add, t); }

#define SOFTMAX(name)      softmax_avx2_##name
#define SOFTMAX_VECTOR     __m256
#define SOFTMAX_SET        _mm256_set1_ps
#define SOFTMAX_LOAD       _mm256_loadu_ps
#define SOFTMAX_STORE      _mm256_storeu_ps
#define SOFTMAX_ADD        _mm256_add_ps
#define SOFTMAX_SUB        _mm256_sub_ps
#define SOFTMAX_MUL        _mm256_mul_ps
#define SOFTMAX_MAX        _mm256_max_ps
#define SOFTMAX_FMA        _mm256_fmadd_ps
#define SOFTMAX_FNMA       _mm256_fnmadd_ps
#define SOFTMAX_POWER(x)   _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x), 23))
#define SOFTMAX_SOME       __m256i
#define SOFTMAX_FIRST      softmax_avx2_first
#define SOFTMAX_LOAD_SOME  softmax_avx2_load_some
#define SOFTMAX_STORE_SOME _mm256_maskstore_ps
#include "softmax_row.h"

PCX_TARGET_END
#endif
