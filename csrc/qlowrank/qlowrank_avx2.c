/*
 * qlowrank_avx2.c - the second product in tiles of 6 rows x 16 columns: vpmaddwd takes two of r at a time; the panel of
 * v is widened once for all rows of the block.
 */
#include "../common/qepilogue_avx2.h"
#include "qlowrank.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

enum { MR = 6 };

static inline __m256i qlowrank_avx2_load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }
static inline void qlowrank_avx2_store(void *at, __m256i v) { _mm256_storeu_si256((__m256i *)at, v); }

static void qlowrank_avx2_halve(const pcx_qlowrank_args *p, const qlowrank_workspace *r, size_t rows)
{
    const __m256 low = _mm256_set1_ps(-QLOWRANK_MOST), high = _mm256_set1_ps(QLOWRANK_MOST);
    const size_t width = qlowrank_width(p);
    for (size_t j = 0; j < width; j += QGEMM_NR) {
        const size_t columns = min_size(QGEMM_NR, p->r - j);
        float scale[QGEMM_NR] = { 0 };
        memcpy(scale, p->mid_scale + j, columns * sizeof *scale);
        for (size_t i = 0; i < rows; i++) {
            int32_t *sum = r->sum + i * width + j;
            if (columns < QGEMM_NR)
                memset(sum + columns, 0, (QGEMM_NR - columns) * sizeof *sum);
            __m256i half[2];
            PCX_UNROLL for (int x = 0; x < 2; x++) {
                const __m256 v =
                    _mm256_mul_ps(_mm256_cvtepi32_ps(qlowrank_avx2_load(sum + 8 * x)), _mm256_loadu_ps(scale + 8 * x));
                half[x] = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(v, high), low)); /* NaN: high */
            }
            qlowrank_avx2_store(r->h + i * width + j,
                                _mm256_permute4x64_epi64(_mm256_packs_epi32(half[0], half[1]), 0xd8));
        }
    }
}

/* acc = bias + mr rows of h, `width` apart, times a panel of `steps` steps. */
PCX_INLINE void qlowrank_avx2_sums(const int mr, const int16_t *h, size_t width, const int16_t *v, size_t steps,
                                   const int32_t *bias, __m256i acc[][2])
{
    PCX_UNROLL for (int i = 0; i < mr; i++) {
        acc[i][0] = qlowrank_avx2_load(bias);
        acc[i][1] = qlowrank_avx2_load(bias + 8);
    }
    for (size_t s = 0; s < steps; s++, h += 2, v += QLOWRANK_STEP) {
        const __m256i v0 = qlowrank_avx2_load(v), v1 = qlowrank_avx2_load(v + 16);
        PCX_UNROLL for (int i = 0; i < mr; i++) {
            int32_t two;
            memcpy(&two, h + (size_t)i * width, sizeof two);
            const __m256i x = _mm256_set1_epi32(two);
            acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(x, v0));
            acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(x, v1));
            PCX_KEEP(acc[i][0]);
            PCX_KEEP(acc[i][1]);
        }
    }
}

/* 16 columns, as all rows of a block use them. */
typedef struct {
    size_t width, steps, ldo; /* ldo in bytes */
    const int16_t *v;
    const qepilogue_avx2_columns *end;
    int32_t bias[QGEMM_NR];
} columns;

/* `count` whole tiles, rows i and so on, whose tail is plain: from registers to `out`. */
static PCX_NOINLINE void qlowrank_avx2_sweep(const columns *c, const int16_t *h, size_t i, size_t count, uint8_t *out)
{
    const qepilogue *const tail = c->end->tail;
    for (; count; count--, i += MR, h += MR * c->width, out += MR * c->ldo) {
        const uint8_t *const residual = qepilogue_avx2_residual(c->end, i);
        __m256i acc[MR][2];
        qlowrank_avx2_sums(MR, h, c->width, c->v, c->steps, c->bias, acc);
        PCX_UNROLL for (size_t x = 0; x < MR; x += 2) {
            const __m256i two[4] = { acc[x][0], acc[x][1], acc[x + 1][0], acc[x + 1][1] };
            qepilogue_avx2_put(c->end, qepilogue_avx2_sums(c->end, two), residual ? residual + x * tail->q.ldr : NULL,
                               1, out + x * c->ldo, c->ldo);
        }
        if (c->end->rise)
            qepilogue_avx2_lut(c->end->rise, out, MR, c->ldo, 0);
    }
}

/* One or two rows, any tail. */
#define ROWS(mr) \
    static PCX_NOINLINE void qlowrank_avx2_rows_##mr(const columns *c, const int16_t *h, size_t i, uint8_t *out) \
    { \
        _Alignas(64) int32_t sum[2][QGEMM_NR] = { 0 }; \
        __m256i acc[mr][2]; \
        qlowrank_avx2_sums(mr, h, c->width, c->v, c->steps, c->bias, acc); \
        PCX_UNROLL for (int x = 0; x < mr; x++) { \
            qlowrank_avx2_store(sum[x], acc[x][0]); \
            qlowrank_avx2_store(sum[x] + 8, acc[x][1]); \
        } \
        qepilogue_avx2_rows(c->end, MR, i, mr, sum, out, c->ldo); \
    }
ROWS(1) ROWS(2)
#undef ROWS

static void qlowrank_avx2_second(const pcx_qlowrank_args *p, const qepilogue *tail, const qlowrank_workspace *r,
                                 size_t i, size_t rows, size_t panel, size_t count)
{
    (void)count; /* one */
    const size_t j = panel * QGEMM_NR, some = min_size(QGEMM_NR, p->n - j);
    const size_t steps = ceil_div(p->r, 2), width = qlowrank_width(p);
    const qepilogue_avx2_columns end = qepilogue_avx2_columns_make(tail, j, some);
    const int8_t *v = p->v + j / QGEMM_NR * steps * QLOWRANK_STEP;
    columns c = { .width = width, .steps = steps, .ldo = p->ldo * tail->bytes, .v = r->wide, .end = &end };
    uint8_t *out = (uint8_t *)p->out + i * c.ldo + j * tail->bytes;
    if (p->tail.bias)
        memcpy(c.bias, p->tail.bias + j, some * sizeof *c.bias);
    for (size_t x = 0; x < steps * QLOWRANK_STEP; x += 16)
        qlowrank_avx2_store(r->wide + x, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(v + x))));
    size_t x = end.plain ? rows / MR * MR : 0;
    qlowrank_avx2_sweep(&c, r->h, i, x / MR, out);
    for (; x + 2 <= rows; x += 2)
        qlowrank_avx2_rows_2(&c, r->h + x * width, i + x, out + x * c.ldo);
    if (x < rows)
        qlowrank_avx2_rows_1(&c, r->h + x * width, i + x, out + x * c.ldo);
}

/* With 256-bit VNNI the first product gains; the second one is the same. */
PCX_HIDDEN extern const qgemm_micro qgemm_micro_avx2, qgemm_micro_avxvnni;
PCX_HIDDEN extern const qlowrank_micro qlowrank_micro_avx2, qlowrank_micro_avxvnni;
const qlowrank_micro qlowrank_micro_avx2 = { &qgemm_micro_avx2, 1, qlowrank_avx2_halve, qlowrank_avx2_second };
const qlowrank_micro qlowrank_micro_avxvnni = { &qgemm_micro_avxvnni, 1, qlowrank_avx2_halve, qlowrank_avx2_second };

PCX_TARGET_END
#endif
