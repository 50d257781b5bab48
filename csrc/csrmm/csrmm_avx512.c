/*
 * csrmm_avx512.c - panels of two or three vectors of 512 bits, two rows of W at a time, or of four where k is small.  A
 * dense column is AVX2's: its numbers are loaded one by one, which vectors of any width wait for.
 */
#include "csrmm.h"

#include "../spmm/spmm.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET(PCX_TARGET_AVX512)

/*
 * The columns of the values [from, end), at most CSRMM_CHUNK, until one is not below `limit`; how many they are.  As
 * csrmm_columns, what is no column becomes the last one.  They go to `columns`, by whole vectors, unless it is NULL.
 */
PCX_INLINE size_t csrmm_avx512_columns(const pcx_csrmm_args *p, size_t from, size_t end, uint32_t limit,
                                       int32_t *columns)
{
    enum { LANES = 16 };
    const size_t count = end > from ? min_size(end - from, CSRMM_CHUNK) : 0;
    if (!columns && limit == p->k)
        return count;
    const __m512i last = _mm512_set1_epi32((int32_t)((uint32_t)p->k - 1)), stop = _mm512_set1_epi32((int32_t)limit);
    for (size_t i = 0; i < count; i += LANES) {
        const size_t rest = count - i;
        const __mmask16 some = (__mmask16)(rest < LANES ? (1u << rest) - 1 : 0xffff);
        const __m512i x = _mm512_min_epu32(_mm512_maskz_loadu_epi32(some, p->index + from + i), last);
        const unsigned beyond = _mm512_mask_cmpge_epu32_mask(some, x, stop);
        if (columns)
            _mm512_storeu_si512(columns + i, x);
        if (beyond)
            return i + (size_t)__builtin_ctz(beyond);
    }
    return count;
}

/* The slices of k: a panel's, `step` bytes for a column, should fit L1; rows with few values in each gain nothing. */
PCX_INLINE size_t csrmm_avx512_slices(const pcx_csrmm_args *p, size_t step)
{
    enum { CACHE = 32768, WORTH = 36 };
    const size_t mean = max_size(1, p->nnz / p->n);
    return max_size(1, min_size(ceil_div(p->k, CACHE / step), mean / WORTH));
}

#define PANEL_FILL  csrmm_avx512_fill_f32
#define TILE_REAL   float
#define TILE_VECTOR __m512
#define TILE_LOAD   _mm512_loadu_ps
#define PANEL_STORE _mm512_storeu_ps
#include "csrmm_panel.h"

#define PANEL_ROWS         csrmm_avx512_rows_f32
#define PANEL_SOME         csrmm_avx512_some_f32
#define PANEL_LIST         csrmm_avx512_list_f32
#define PANEL_HALVES       1
#define PANEL_HALF_FMA(by, x, sum) \
    _mm512_castps256_ps512( \
        _mm256_fmadd_ps(_mm512_castps512_ps256(by), _mm256_loadu_ps(x), _mm512_castps512_ps256(sum)))
#define PANEL_HALF_LOAD(x) _mm512_castps256_ps512(_mm256_loadu_ps(x))
#define PANEL_HALF_STORE(x, sum) _mm256_storeu_ps(x, _mm512_castps512_ps256(sum))
#define PANEL_ZERO         _mm512_setzero_ps
#define PANEL_PART(m, x)   _mm512_maskz_loadu_ps((__mmask16)(m), x)
#define PANEL_PUT_PART(x, m, y) _mm512_mask_storeu_ps(x, (__mmask16)(m), y)
#define PANEL_QUAD(w)      _mm512_broadcast_f32x4(_mm_loadu_ps(w))
#define PANEL_PICK(q, i)   _mm512_permute_ps(q, 0x55 * (i))
#define TILE_BROADCAST(w)  _mm512_set1_ps(*(w))
#define TILE_FMA           _mm512_fmadd_ps
#include "csrmm_panel_avx512.h"

#define PANEL_FILL  csrmm_avx512_fill_f64
#define TILE_REAL   double
#define TILE_VECTOR __m512d
#define TILE_LOAD   _mm512_loadu_pd
#define PANEL_STORE _mm512_storeu_pd
#include "csrmm_panel.h"

#define PANEL_ROWS         csrmm_avx512_rows_f64
#define PANEL_SOME         csrmm_avx512_some_f64
#define PANEL_LIST         csrmm_avx512_list_f64
#define PANEL_HALVES       0
#define PANEL_HALF_FMA(by, x, sum) TILE_FMA(by, TILE_LOAD(x), sum)
#define PANEL_HALF_LOAD    TILE_LOAD
#define PANEL_HALF_STORE   PANEL_STORE
#define PANEL_ZERO         _mm512_setzero_pd
#define PANEL_PART(m, x)   _mm512_maskz_loadu_pd((__mmask8)(m), x)
#define PANEL_PUT_PART(x, m, y) _mm512_mask_storeu_pd(x, (__mmask8)(m), y)
#define PANEL_QUAD(w)      _mm512_broadcast_f64x4(_mm256_loadu_pd(w))
#define PANEL_PICK(q, i)   _mm512_permutex_pd(q, 0x55 * (i))
#define TILE_BROADCAST(w)  _mm512_set1_pd(*(w))
#define TILE_FMA           _mm512_fmadd_pd
#include "csrmm_panel_avx512.h"

PCX_HIDDEN extern const csrmm_micro csrmm_micro_avx512;
const csrmm_micro csrmm_micro_avx512 = {
    .bytes = sizeof(__m512), .vectors = 4, .deep = 256, .vectors_of_deep = 2,
    .fill = { csrmm_avx512_fill_f32, csrmm_avx512_fill_f64 }, .transpose = csrmm_avx2_transpose,
    .rows = { csrmm_avx512_rows_f32, csrmm_avx512_rows_f64 },
    .vector = { csrmm_avx2_vector_f32, csrmm_avx2_vector_f64 },
};

PCX_TARGET_END
#endif
