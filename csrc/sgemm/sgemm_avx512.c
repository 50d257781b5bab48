/*
 * sgemm_avx512.c - tiles of 6 rows x 4 panels, 8 x 3, 10 x 2 and 10 x 1: sgemm_tile_avx512.h.  Sums of more than
 * SGEMM_DEEP products are made of parts as elsewhere.
 */
#include "sgemm_tile_avx512.h"

#include "../common/act_avx512.h"

#if PCX_X86

PCX_TARGET(PCX_TARGET_AVX512)

void sgemm_finish_avx512(const sgemm_rows *r, size_t first, size_t count, const sgemm_target *to, size_t column,
                         float *sum, size_t width)
{
    const pcx_epilogue tail = *to->tail;
    const size_t columns = min_size(width, to->n - column);
    float bounds[2];
    if (tail.act > PCX_ACT_CLIP) {
        for (size_t i = 0; tail.residual && i < count; i++)
            for (size_t j = 0; j < columns; j += SGEMM_NR) {
                const __mmask16 there = (__mmask16)(0xffff >> (SGEMM_NR - min_size(SGEMM_NR, columns - j)));
                float *const at = sum + i * width + j;
                const __m512 residual = _mm512_maskz_loadu_ps(there, r->residual[first + i] + column + j);
                _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), residual));
            }
        act_avx512_row(sum, sum, count * width, tail.act, tail.act_params);
    }
    act_bounds(tail.act, tail.act_params, bounds, bounds + 1);
    const int add = tail.residual && tail.act <= PCX_ACT_CLIP;
    const __m512 low = _mm512_set1_ps(bounds[0]), high = _mm512_set1_ps(bounds[1]);
    for (size_t i = 0; i < count; i++, sum += width)
        for (size_t j = 0; j < columns; j += SGEMM_NR) {
            const __mmask16 there = (__mmask16)(0xffff >> (SGEMM_NR - min_size(SGEMM_NR, columns - j)));
            __m512 x = _mm512_loadu_ps(sum + j);
            if (add)
                x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(there, r->residual[first + i] + column + j));
            x = _mm512_min_ps(high, _mm512_max_ps(low, x)); /* of NaN, the second argument */
            _mm512_mask_storeu_ps(r->out[first + i] + column + j, there, x);
        }
}

/* Where sums begin: from[width] = the bias of the columns from `column` on, zero beyond n. */
static void sgemm_avx512_start(const sgemm_target *to, size_t column, float *from, size_t width)
{
    for (size_t j = 0; j < width; j += SGEMM_NR) {
        const size_t columns = min_size(SGEMM_NR, to->n - column - j);
        const __mmask16 there = to->tail->bias ? (__mmask16)(0xffff >> (SGEMM_NR - columns)) : 0;
        _mm512_storeu_ps(from + j, _mm512_maskz_loadu_ps(there, to->tail->bias + column + j));
    }
}

/* A tile of more than SGEMM_DEEP products. */
static void sgemm_avx512_deep(const sgemm_rows *r, size_t first, size_t count, const sgemm_target *to, size_t panel,
                              size_t wide, const sgemm_shapes *shapes)
{
    static const pcx_epilogue plain;
    const size_t column = panel * SGEMM_NR, width = wide * SGEMM_NR;
    const char *w = (const char *)to->w + panel * to->ldw * shapes->bytes;
    float part[SGEMM_TILE_SUMS * SGEMM_NR], total[SGEMM_TILE_SUMS * SGEMM_NR] = { 0 };
    sgemm_rows some; /* a part of a run of the tile's rows */
    some.count = count;
    some.lines = some.runs = 1;
    some.line_step = some.run_step = 0;
    some.fresh = 0;
    for (size_t x = 0; x < count; x++) {
        some.out[x] = part + x * width;
        sgemm_avx512_start(to, column, some.out[x], width);
    }
    size_t left = SGEMM_DEEP, at = 0;
    for (size_t i = r->lines; i; i--, at += r->line_step - r->runs * r->run_step)
        for (size_t j = r->runs; j; j--, at += r->run_step)
            for (size_t done = 0; done < r->length; done += some.length, left -= some.length) {
                for (size_t x = 0; !left && x < count * width; x++) {
                    total[x] += part[x];
                    part[x] = 0;
                }
                left = left ? left : SGEMM_DEEP;
                some.length = min_size(left, r->length - done);
                for (size_t x = 0; x < count; x++)
                    some.a[x] = r->a[first + x] + at + done;
                const sgemm_target rest = { (const float *)(const void *)w, to->ldw, width, &plain };
                shapes->tile[wide][count](&some, 0, 1, &rest, 0, (sgemm_start){ part, width });
                w += some.length * SGEMM_NR * shapes->bytes;
            }
    for (size_t x = 0; x < count * width; x++)
        part[x] += total[x];
    sgemm_finish_avx512(r, first, count, to, column, part, width);
}

/* All rows times `wide` panels from `panel` on, in tiles of about equal height. */
static void sgemm_avx512_columns(const sgemm_rows *r, const sgemm_target *to, size_t panel, size_t wide,
                                 const sgemm_shapes *shapes)
{
    const size_t tiles = ceil_div(r->count, shapes->tall[wide]), rows = r->count / tiles, more = r->count % tiles;
    if (r->lines * r->runs * r->length > SGEMM_DEEP) {
        for (size_t t = 0, i = 0; t < tiles; i += rows + (t < more), t++)
            sgemm_avx512_deep(r, i, rows + (t < more), to, panel, wide, shapes);
        return;
    }
    float from[SGEMM_TILE_WIDE * SGEMM_NR];
    const sgemm_start start = { from, 0 };
    sgemm_avx512_start(to, panel * SGEMM_NR, from, wide * SGEMM_NR);
    if (more)
        shapes->tile[wide][rows + 1](r, 0, more, to, panel, start);
    shapes->tile[wide][rows](r, more * (rows + 1), tiles - more, to, panel, start);
}

void sgemm_shapes_avx512(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end, size_t wide,
                         const sgemm_shapes *shapes)
{
    for (size_t panel = begin, each; r->count && panel < end; panel += each) {
        each = ceil_div(end - panel, ceil_div(end - panel, wide)); /* about equal: 5 are 3 + 2 */
        while (!shapes->tall[each])
            each--;
        sgemm_avx512_columns(r, to, panel, each, shapes);
    }
}

SGEMM_TILES_10(sgemm_avx512, SGEMM_F32, 1)
SGEMM_TILES_10(sgemm_avx512, SGEMM_F32, 2)
SGEMM_TILES_8(sgemm_avx512, SGEMM_F32, 3)
SGEMM_TILES_6(sgemm_avx512, SGEMM_F32, 4)
static sgemm_tile *const sgemm_avx512_1[] = { SGEMM_LIST_10(sgemm_avx512, 1) };
static sgemm_tile *const sgemm_avx512_2[] = { SGEMM_LIST_10(sgemm_avx512, 2) };
static sgemm_tile *const sgemm_avx512_3[] = { SGEMM_LIST_8(sgemm_avx512, 3) };
static sgemm_tile *const sgemm_avx512_4[] = { SGEMM_LIST_6(sgemm_avx512, 4) };

/* Four panels while they fit the L1 cache, or where they make fewer tiles; else three, which rows meet less often. */
void sgemm_rows_avx512(const sgemm_rows *r, const sgemm_target *to, size_t begin, size_t end)
{
    enum { SHORT = 128 };
    static const sgemm_shapes shapes = { sizeof(float), { 0, 10, 10, 8, 6 },
                                         { NULL, sgemm_avx512_1, sgemm_avx512_2, sgemm_avx512_3, sgemm_avx512_4 } };
    if (to->n <= SGEMM_NARROW) {
        if (begin < end && r->count)
            sgemm_narrow_avx2(r, to, to->w, SGEMM_F32);
        return;
    }
    const size_t k = r->lines * r->runs * r->length;
    sgemm_shapes_avx512(r, to, begin, end, k <= SHORT || r->count <= 6 ? 4 : 3, &shapes);
}

PCX_HIDDEN extern const sgemm_micro sgemm_micro_avx512;
const sgemm_micro sgemm_micro_avx512 = { SGEMM_TALL, sgemm_rows_avx512 };

PCX_TARGET_END
#endif
