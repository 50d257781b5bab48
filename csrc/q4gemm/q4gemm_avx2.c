/*
 * q4gemm_avx2.c - parts are chunks, whose products int16 holds: their lanes start at what makes of them products of
 * (a - 128) and (w - zero).
 */
#include "q4gemm.h"

#include "../qgemm/qgemm_step_avx2.h"

#if PCX_X86

PCX_TARGET("avx2,fma,f16c")

PCX_INLINE void q4gemm_avx2_load_scales(const pcx_q4gemm_args *p, size_t at, __m256 scale[2])
{
    if (p->st == PCX_F16) {
        const __m128i *half = (const __m128i *)(const void *)((const uint16_t *)p->scale + at);
        scale[0] = _mm256_cvtph_ps(_mm_loadu_si128(half));
        scale[1] = _mm256_cvtph_ps(_mm_loadu_si128(half + 1));
    } else {
        scale[0] = _mm256_loadu_ps((const float *)p->scale + at);
        scale[1] = _mm256_loadu_ps((const float *)p->scale + at + 8);
    }
}

/* The zero points of eight columns, four bytes each. */
PCX_INLINE __m256i q4gemm_avx2_load_zeros(const pcx_q4gemm_args *p, size_t at)
{
    if (!p->zero)
        return _mm256_set1_epi8(8);
    const __m256i zero = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p->zero + at)));
    return _mm256_mullo_epi32(zero, _mm256_set1_epi32(0x01010101));
}

/* Codes of 16 columns: of the lower and of the upper eight. */
PCX_INLINE void q4gemm_avx2_unpack(__m256i both, __m256i codes[2])
{
    const __m256i low = _mm256_set1_epi8(15);
    codes[0] = _mm256_and_si256(both, low);
    codes[1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
}

/* ---- many rows ---- */

/* A step minus its zero points, to `to`; subtracts 128 times it from `sum`, lane by lane. */
PCX_INLINE void q4gemm_avx2_unpack_step(const uint8_t *from, const __m256i zero[2], int8_t *to, __m256i sum[2])
{
    __m256i codes[2];
    q4gemm_avx2_unpack(qgemm_load(from), codes);
    PCX_UNROLL
    for (int h = 0; h < 2; h++) {
        codes[h] = _mm256_sub_epi8(codes[h], zero[h]);
        qgemm_store(to + 32 * h, codes[h]);
        sum[h] = _mm256_sub_epi16(sum[h], _mm256_maddubs_epi16(_mm256_set1_epi8((char)128), codes[h]));
    }
}

/* Panel `panel` less its zero points; -128 times their sums, lane by lane, as starts of chunks; scales. */
static void q4gemm_avx2_unpack_panel(const pcx_q4gemm_args *p, const q4gemm_workspace *r, size_t panel, size_t count)
{
    (void)count; /* one */
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    const uint8_t *from = p->w + panel * steps * Q4_STEP;
    int16_t *start = r->start;
    int8_t *to = r->w;
    size_t s = 0;
    for (size_t g = 0; g < groups; g++) {
        const size_t at = (panel * groups + g) * Q4_NR, end = q4gemm_group_end(p, g, groups, steps);
        const __m256i zero[2] = { q4gemm_avx2_load_zeros(p, at), q4gemm_avx2_load_zeros(p, at + 8) };
        __m256 scale[2];
        q4gemm_avx2_load_scales(p, at, scale);
        _mm256_store_ps(r->scale + g * Q4_NR, scale[0]);
        _mm256_store_ps(r->scale + g * Q4_NR + 8, scale[1]);
        for (; s < end; start += 32) {
            __m256i sum[2] = { _mm256_setzero_si256(), _mm256_setzero_si256() };
            if (PCX_LIKELY(end - s >= Q4_CHUNK)) {
                PCX_UNROLL
                for (size_t x = 0; x < Q4_CHUNK; x++)
                    q4gemm_avx2_unpack_step(from + x * Q4_STEP, zero, to + x * 64, sum);
                s += Q4_CHUNK;
                from += Q4_CHUNK * Q4_STEP;
                to += Q4_CHUNK * 64;
            } else {
                for (; s < end; s++, from += Q4_STEP, to += 64)
                    q4gemm_avx2_unpack_step(from, zero, to, sum);
            }
            qgemm_store(start, sum[0]);
            qgemm_store(start + 16, sum[1]);
        }
    }
}

/* Whether groups are of one chunk each. */
static int q4gemm_avx2_is_single(const pcx_q4gemm_args *p) { return min_size(p->group, p->k) <= 4 * Q4_CHUNK; }

/* Exact sums of a group times its scales, added to v. */
PCX_INLINE void q4gemm_avx2_add_group(float *v, __m256i sum, __m256 scale)
{
    _mm256_store_ps(v, _mm256_add_ps(_mm256_load_ps(v), _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum))));
}

/* v[mr][16]: sums of the tile whose rows are rows[0..mr); `single` as q4gemm_avx2_is_single(). */
PCX_INLINE void q4gemm_avx2_tile(const int mr, const int single, const pcx_q4gemm_args *p, const q4gemm_workspace *m,
                                 const uint8_t *const rows[], float v[][Q4_NR])
{
    static const _Alignas(32) int32_t none[Q4_MR][Q4_NR];
    const __m256i ones = _mm256_set1_epi16(1);
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    _Alignas(32) int32_t sum[Q4_MR][Q4_NR];
    const uint8_t *row[Q4_MR];
    const int16_t *start = m->start;
    const int8_t *w = m->w;
    const float *scale = m->scale;
    size_t s = 0;
    PCX_UNROLL
    for (int r = 0; r < mr; r++) {
        row[r] = rows[r];
        _mm256_store_ps(v[r], _mm256_setzero_ps());
        _mm256_store_ps(v[r] + 8, _mm256_setzero_ps());
    }
    for (size_t g = 0; g < groups; g++, scale += Q4_NR) {
        const size_t end = q4gemm_group_end(p, g, groups, steps);
        const int32_t(*from)[Q4_NR] = none; /* sums of the group's chunks before */
        do {
            __m256i acc[Q4_MR][2];
            PCX_UNROLL
            for (int r = 0; r < mr; r++) {
                acc[r][0] = qgemm_load(start);
                acc[r][1] = qgemm_load(start + 16);
            }
            if (PCX_LIKELY(end - s >= Q4_CHUNK)) {
                PCX_UNROLL
                for (size_t x = 0; x < Q4_CHUNK; x++)
                    qgemm_step(mr, 2, row, (ptrdiff_t)(4 * (s + x)), w + 64 * x, acc);
                s += Q4_CHUNK;
                w += Q4_CHUNK * 64;
            } else {
                for (; s < end; s++, w += 64)
                    qgemm_step(mr, 2, row, (ptrdiff_t)(4 * s), w, acc);
            }
            start += 32;
            float(*to)[Q4_NR] = v;
            PCX_OPAQUE(to); /* otherwise GCC keeps copies of v and of the sums on the stack */
            PCX_OPAQUE(from);
            const int last = single || s == end;
            PCX_UNROLL
            for (int r = 0; r < mr; r++)
                PCX_UNROLL
                for (int h = 0; h < 2; h++) {
                    acc[r][h] = _mm256_madd_epi16(acc[r][h], ones);
                    if (!single)
                        acc[r][h] = _mm256_add_epi32(acc[r][h], qgemm_load(from[r] + 8 * h));
                    if (!last)
                        qgemm_store(sum[r] + 8 * h, acc[r][h]);
                }
            PCX_UNROLL
            for (int r = 0; last && r < mr; r++) {
                q4gemm_avx2_add_group(to[r], acc[r][0], _mm256_load_ps(scale));
                q4gemm_avx2_add_group(to[r] + 8, acc[r][1], _mm256_load_ps(scale + 8));
            }
            from = (const int32_t(*)[Q4_NR])sum;
        } while (!single && s < end);
    }
}

/* ---- few rows ---- */

/* Lanes start at the sums of a chunk's signed codes times -8, or -1 to be multiplied by zero points. */
static void q4gemm_avx2_sign(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t r)
{
    const size_t chunks = m->parts;
    const int16_t times = p->zero ? -1 : -8;
    uint8_t *copy = m->copy + r * m->copy_step;
    int16_t *lane = (int16_t *)m->sums + 2 * r * chunks;
    for (size_t x = 0; x < chunks; x++) {
        const __m256i signed_ = _mm256_xor_si256(qgemm_load(copy + 32 * x), _mm256_set1_epi8((char)128));
        qgemm_store(copy + 32 * x, signed_);
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), signed_); /* lanes 0, 1, 0, 1 ... */
        __m128i sum = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
        sum = _mm_add_epi16(sum, _mm_unpackhi_epi64(sum, sum));
        sum = _mm_add_epi16(sum, _mm_srli_epi64(sum, 32));
        lane[2 * x] = (int16_t)(times * (int16_t)_mm_extract_epi16(sum, 0));
        lane[2 * x + 1] = (int16_t)(times * (int16_t)_mm_extract_epi16(sum, 1));
    }
}

/* One step of a panel as it is packed, with signed rows. */
PCX_INLINE void q4gemm_avx2_direct_step(const int mr, const uint8_t *const row[], size_t at, const uint8_t *w,
                                        __m256i acc[][2])
{
    __m256i codes[2];
    q4gemm_avx2_unpack(qgemm_load(w), codes);
    PCX_UNROLL
    for (int r = 0; r < mr; r++) {
        const __m256i a = qgemm_four(row[r] + at);
        PCX_UNROLL
        for (int h = 0; h < 2; h++) {
            acc[r][h] = _mm256_add_epi16(acc[r][h], _mm256_maddubs_epi16(codes[h], a));
            PCX_KEEP(acc[r][h]);
        }
    }
}

/* v[mr][16]: sums of all rows with a panel; sums stay in registers where there are enough. */
PCX_INLINE void q4gemm_avx2_direct(const int mr, const int single, const pcx_q4gemm_args *p, size_t panel,
                                   const q4gemm_workspace *m, float v[][Q4_NR])
{
    enum { AHEAD = 2048 }; /* bytes */
    const __m256i ones = _mm256_set1_epi16(1);
    const size_t steps = ceil_div(p->k, 4), groups = q4gemm_groups(p);
    const uint8_t *w = p->w + panel * steps * Q4_STEP, *row[Q4_MR];
    const int16_t *lane[Q4_MR];
    __m256 total[Q4_MR][2];
    size_t s = 0;
    PCX_UNROLL
    for (int r = 0; r < mr; r++) {
        row[r] = m->row[r];
        lane[r] = (const int16_t *)m->sums + (size_t)(m->row[r] - m->copy) / 16;
        total[r][0] = total[r][1] = _mm256_setzero_ps();
    }
    for (size_t g = 0; g < groups; g++) {
        const size_t end = q4gemm_group_end(p, g, groups, steps), at = (panel * groups + g) * Q4_NR;
        __m256i zero[2], sum[Q4_MR][2];
        __m256 scale[2];
        q4gemm_avx2_load_scales(p, at, scale);
        PCX_UNROLL
        for (int h = 0; h < 2; h++)
            zero[h] = _mm256_and_si256(q4gemm_avx2_load_zeros(p, at + 8 * (size_t)h), _mm256_set1_epi16(255));
        PCX_UNROLL
        for (int r = 0; r < mr; r++)
            sum[r][0] = sum[r][1] = _mm256_setzero_si256();
        do {
            __m256i acc[Q4_MR][2];
            PCX_UNROLL
            for (int r = 0; r < mr; r++) {
                const __m256i start = qgemm_four((const uint8_t *)(lane[r] + s / Q4_CHUNK * 2));
                PCX_UNROLL
                for (int h = 0; h < 2; h++)
                    acc[r][h] = p->zero ? _mm256_mullo_epi16(start, zero[h]) : start;
            }
            for (size_t ahead = 0; ahead < Q4_CHUNK * Q4_STEP; ahead += 64)
                _mm_prefetch((const char *)w + AHEAD + ahead, _MM_HINT_T0);
            if (PCX_LIKELY(end - s >= Q4_CHUNK)) {
                PCX_UNROLL
                for (size_t x = 0; x < Q4_CHUNK; x++)
                    q4gemm_avx2_direct_step(mr, row, 4 * (s + x), w + Q4_STEP * x, acc);
                s += Q4_CHUNK;
                w += Q4_CHUNK * Q4_STEP;
            } else {
                for (; s < end; s++, w += Q4_STEP)
                    q4gemm_avx2_direct_step(mr, row, 4 * s, w, acc);
            }
            PCX_UNROLL
            for (int r = 0; r < mr; r++)
                PCX_UNROLL
                for (int h = 0; h < 2; h++)
                    sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(acc[r][h], ones));
        } while (!single && s < end);
        PCX_UNROLL
        for (int r = 0; r < mr; r++)
            PCX_UNROLL
            for (int h = 0; h < 2; h++)
                total[r][h] = _mm256_add_ps(total[r][h], _mm256_mul_ps(scale[h], _mm256_cvtepi32_ps(sum[r][h])));
    }
    PCX_UNROLL
    for (int r = 0; r < mr; r++) {
        _mm256_store_ps(v[r], total[r][0]);
        _mm256_store_ps(v[r] + 8, total[r][1]);
    }
}

/* ---- all of it ---- */

#define TILE(mr) \
    static PCX_NOINLINE void q4gemm_avx2_tile_##mr(const pcx_q4gemm_args *p, const q4gemm_workspace *m, \
                                                    const uint8_t *const rows[], float v[][Q4_NR]) \
    { \
        if (q4gemm_avx2_is_single(p)) \
            q4gemm_avx2_tile(mr, 1, p, m, rows, v); \
        else \
            q4gemm_avx2_tile(mr, 0, p, m, rows, v); \
    } \
    static PCX_NOINLINE void q4gemm_avx2_direct_##mr(const pcx_q4gemm_args *p, size_t panel, \
                                                      const q4gemm_workspace *m, float v[][Q4_NR]) \
    { \
        if (q4gemm_avx2_is_single(p)) \
            q4gemm_avx2_direct(mr, 1, p, panel, m, v); \
        else \
            q4gemm_avx2_direct(mr, 0, p, panel, m, v); \
    }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(6)
#undef TILE

static void (*const tile_of[])(const pcx_q4gemm_args *, const q4gemm_workspace *, const uint8_t *const[],
                               float[][Q4_NR]) = {
    NULL, q4gemm_avx2_tile_1, q4gemm_avx2_tile_2, q4gemm_avx2_tile_3,
    q4gemm_avx2_tile_4, q4gemm_avx2_tile_6, q4gemm_avx2_tile_6,
};
static void (*const direct_of[])(const pcx_q4gemm_args *, size_t, const q4gemm_workspace *, float[][Q4_NR]) = {
    NULL, q4gemm_avx2_direct_1, q4gemm_avx2_direct_2, q4gemm_avx2_direct_3,
    q4gemm_avx2_direct_4, q4gemm_avx2_direct_6, q4gemm_avx2_direct_6,
};

static void q4gemm_avx2_run_few(const pcx_q4gemm_args *p, const q4gemm_workspace *m, size_t rows, size_t panel,
                                size_t count, q4gemm_sums v)
{
    (void)count; /* one */
    direct_of[rows](p, panel, m, v);
}

static void q4gemm_avx2_run_many(const pcx_q4gemm_args *p, const q4gemm_workspace *m, const uint8_t *const *row,
                                 size_t rows, size_t count, q4gemm_sums v)
{
    (void)count; /* one */
    tile_of[rows](p, m, row, v);
}

PCX_HIDDEN extern const q4gemm_micro q4gemm_micro_avx2;
const q4gemm_micro q4gemm_micro_avx2 = { 1, 1, 0, q4gemm_avx2_sign, q4gemm_avx2_run_few, q4gemm_avx2_unpack_panel,
                                         q4gemm_avx2_run_many, q4gemm_tail_avx2 };

PCX_TARGET_END
#endif
