/*
 * q4gemm_amx.c - AMX: rows as signed bytes, once for all panels, times weights minus their zero points, two panels
 * unpacked at a time: tdpbssd sums up to 64 k of 16 x 16 outputs.  A group's sums go through memory, where they are
 * scaled and added up while the next group is multiplied.  Sums of a group are int32 and exact: a product is at most
 * 128 * 15, and there are at most 65536.  Floats are those of the scalar row, in its order.
 *
 * Rows and panels are laid out in chunks of a tile each; what fills up a group's last chunk is zero in the rows.  No
 * row is read in place, tiles of rows overlap and blocks fill the second cache, so this is not a micro-kernel of
 * q4gemm_rows.c.
 */
#include "q4gemm.h"

#include "../common/amx.h"

#if PCX_X86
#include <immintrin.h>

PCX_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-int8")

enum { Q4_AMX_ROWS = 2 * AMX_ROWS, Q4_AMX_TILE = AMX_ROWS * AMX_ROW_BYTES };

/* How the work is cut. */
typedef struct {
    size_t blocks, rows, panels, pairs; /* a unit is a block of rows times a pair of panels */
    size_t groups, chunk, chunks;       /* bytes of k of a chunk, and chunks of a group */
} q4gemm_amx_shape;

static q4gemm_amx_shape q4gemm_amx_shape_make(const pcx_q4gemm_args *p)
{
    /* Rows share two unpacked panels, which cost as much as dozens of them, but should stay in the second cache. */
    const size_t max = min_size(max_size(524288 / max_size(p->k, 1) / Q4_AMX_ROWS * Q4_AMX_ROWS, 64), 384);
    const size_t group = min_size(p->group, p->k);
    q4gemm_amx_shape s = { .blocks = ceil_div(p->m, max), .panels = ceil_div(p->n, Q4_NR) };
    s.rows = s.blocks ? round_up(ceil_div(p->m, s.blocks), Q4_AMX_ROWS) : 0;
    s.pairs = ceil_div(s.panels, 2);
    s.groups = q4gemm_groups(p);
    s.chunk = max_size(min_size(round_up(group, 4), AMX_ROW_BYTES), 4);
    s.chunks = ceil_div(group, AMX_ROW_BYTES);
    return s;
}

/* Bytes of k of a row, with what fills up groups: groups of less than a chunk of 64 have 32, or there is but one. */
static size_t q4gemm_amx_width(const q4gemm_amx_shape *s) { return s->groups * s->chunks * s->chunk; }

/* The scratch. */
typedef struct {
    amx_tiles tiles;
    _Alignas(64) float v[2][Q4_AMX_ROWS][Q4_NR];   /* [panel][row]: groups added up */
    int32_t sum[2][2][Q4_AMX_ROWS][Q4_NR];         /* of the group before and of this */
    int8_t *row, *panel[2]; /* tile after tile: [16 rows][64] of each 64 k; [16 steps][16][4] */
} q4gemm_amx_space;

static size_t q4gemm_amx_space_make(const q4gemm_amx_shape *s, q4gemm_amx_space *space)
{
    const size_t tile = round_up(q4gemm_amx_width(s), AMX_ROW_BYTES) * AMX_ROWS;
    const size_t panel = sizeof *space + s->rows / AMX_ROWS * tile;
    if (space) {
        space->row = (int8_t *)(space + 1);
        space->panel[0] = (int8_t *)space + panel;
        space->panel[1] = (int8_t *)space + panel + tile;
    }
    return panel + 2 * tile;
}

size_t q4gemm_amx_units(const void *args)
{
    const q4gemm_amx_shape s = q4gemm_amx_shape_make(args);
    return s.blocks * s.pairs;
}

size_t q4gemm_amx_scratch(const void *args)
{
    const q4gemm_amx_shape s = q4gemm_amx_shape_make(args);
    return q4gemm_amx_space_make(&s, NULL);
}

PCX_INLINE __mmask64 q4gemm_amx_first(size_t bytes) { return bytes ? ~(__mmask64)0 >> (64 - bytes) : 0; }

/* Row x of a tile: its bytes less 128. */
static void q4gemm_amx_sign_row(const pcx_q4gemm_args *p, const q4gemm_amx_shape *s, const uint8_t *a, size_t x,
                                int8_t *tile)
{
    const __mmask64 chunk = q4gemm_amx_first(s->chunk);
    const size_t each = s->chunks * s->chunk;
    for (size_t g = 0; g < s->groups; g++) {
        const size_t first = g * p->group, group = min_size(p->group, p->k - first);
        for (size_t c = 0; c < s->chunks; c++) {
            const size_t from = c * AMX_ROW_BYTES, to = g * each + from;
            const __mmask64 some = q4gemm_amx_first(group > from ? min_size(group - from, s->chunk) : 0);
            const __m512i bytes = _mm512_maskz_loadu_epi8(some, a + first + from);
            const __m512i less = _mm512_maskz_add_epi8(some, bytes, _mm512_set1_epi8((char)128));
            _mm512_mask_storeu_epi8(tile + to / AMX_ROW_BYTES * Q4_AMX_TILE + x * AMX_ROW_BYTES + to % AMX_ROW_BYTES,
                                    chunk, less);
        }
    }
}

static void q4gemm_amx_sign_rows(const pcx_q4gemm_args *p, const q4gemm_amx_shape *s, size_t i, const amx_split *split,
                                 int8_t *to)
{
    const size_t tile = round_up(q4gemm_amx_width(s), AMX_ROW_BYTES) * AMX_ROWS;
    for (size_t t = 0; t < split->count; t++, to += tile)
        for (size_t x = 0; x < split->rows; x++)
            q4gemm_amx_sign_row(p, s, p->a + (i + min_size(t * split->rows, split->last) + x) * p->lda, x, to);
}

/* Zero points of a panel's columns, four bytes each. */
PCX_INLINE __m512i q4gemm_amx_zeros(const pcx_q4gemm_args *p, size_t at)
{
    if (!p->zero)
        return _mm512_set1_epi8(8);
    const __m128i zero = _mm_loadu_si128((const __m128i *)(const void *)(p->zero + at));
    return _mm512_mullo_epi32(_mm512_cvtepu8_epi32(zero), _mm512_set1_epi32(0x01010101));
}

/* Weights minus zero points. */
static void q4gemm_amx_unpack(const pcx_q4gemm_args *p, const q4gemm_amx_shape *s, size_t panel, int8_t *to)
{
    const __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(4), 1);
    const __m512i low = _mm512_set1_epi8(15);
    const size_t steps = ceil_div(p->k, 4), each = s->chunks * s->chunk / 4;
    const uint8_t *w = p->w + panel * steps * Q4_STEP;
    for (size_t g = 0, done = 0; g < s->groups; g++, to += each * 64) {
        const __m512i zero = q4gemm_amx_zeros(p, (panel * s->groups + g) * Q4_NR);
        const size_t count = q4gemm_group_end(p, g, s->groups, steps) - done;
        done += count;
        for (size_t x = 0; x < count; x++, w += Q4_STEP) {
            const __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)w);
            const __m512i codes = _mm512_srlv_epi32(_mm512_broadcast_i64x4(both), shift);
            _mm512_storeu_si512(to + x * 64, _mm512_sub_epi8(_mm512_and_si512(codes, low), zero));
        }
    }
}

PCX_INLINE __m512 q4gemm_amx_scale(const pcx_q4gemm_args *p, size_t at)
{
    if (p->st == PCX_F16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)((const uint16_t *)p->scale + at)));
    return _mm512_loadu_ps((const float *)p->scale + at);
}

/* v += scale * sum of one group, for `rows` rows. */
PCX_INLINE void q4gemm_amx_add(size_t rows, __m512 scale, const int32_t (*sum)[Q4_NR], float (*v)[Q4_NR])
{
    for (size_t r = 0; r < rows; r++) {
        const __m512 x = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_load_si512(sum[r])));
        _mm512_store_ps(v[r], _mm512_add_ps(_mm512_load_ps(v[r]), x));
    }
}

/* Two tiles of rows, the second `second` rows below the first, times one panel or two: space->v. */
static void q4gemm_amx_tiles(const pcx_q4gemm_args *p, const q4gemm_amx_shape *s, q4gemm_amx_space *space,
                             const int8_t *a0, const int8_t *a1, size_t panel, size_t panels, size_t second,
                             size_t rows)
{
    const size_t each = s->chunks * s->chunk;
    memset(space->v, 0, sizeof space->v);
    for (size_t g = 0; g <= s->groups; g++) {
        int32_t(*sum)[Q4_AMX_ROWS][Q4_NR] = space->sum[g % 2], (*last)[Q4_AMX_ROWS][Q4_NR] = space->sum[(g + 1) % 2];
        const int more = g < s->groups;
        PCX_TILE_ZERO(0);
        PCX_TILE_ZERO(1);
        PCX_TILE_ZERO(2);
        PCX_TILE_ZERO(3);
        for (size_t c = 0, q = g * each; more && c < s->chunks; c++, q += s->chunk) {
            const size_t at = q / AMX_ROW_BYTES * Q4_AMX_TILE + q % AMX_ROW_BYTES;
            PCX_TILE_LOAD(4, a0 + at, AMX_ROW_BYTES);
            PCX_TILE_LOAD(6, space->panel[0] + q * AMX_ROWS, 64);
            PCX_TILE_DOT(ss, 0, 4, 6);
            PCX_TILE_LOAD(5, a1 + at, AMX_ROW_BYTES);
            PCX_TILE_DOT(ss, 2, 5, 6);
            if (panels > 1) {
                PCX_TILE_LOAD(7, space->panel[1] + q * AMX_ROWS, 64);
                PCX_TILE_DOT(ss, 1, 4, 7);
                PCX_TILE_DOT(ss, 3, 5, 7);
            }
        }
        for (size_t x = 0; g && x < panels; x++) {
            const __m512 scale = q4gemm_amx_scale(p, ((panel + x) * s->groups + g - 1) * Q4_NR);
            q4gemm_amx_add(rows, scale, (const int32_t(*)[Q4_NR])last[x], space->v[x]);
        }
        if (more) {
            PCX_TILE_STORE(0, sum[0][0], 64);
            PCX_TILE_STORE(2, sum[0][second], 64);
            PCX_TILE_STORE(1, sum[1][0], 64);
            PCX_TILE_STORE(3, sum[1][second], 64);
        }
    }
}

static void q4gemm_amx_configure(const q4gemm_amx_shape *s, size_t rows, q4gemm_amx_space *space)
{
    amx_config config = { 0 };
    for (size_t x = 0; x < 4; x++)
        amx_config_tile(&config, x, rows, AMX_ROW_BYTES);
    for (size_t x = 0; x < 2; x++) {
        amx_config_tile(&config, 4 + x, rows, s->chunk);
        amx_config_tile(&config, 6 + x, s->chunk / 4, AMX_ROW_BYTES);
    }
    amx_configure(&space->tiles, &config);
}

/* Rows [i, + rows) times panels [panel, + panels), both made ready. */
static void q4gemm_amx_unit(const pcx_q4gemm_args *p, const q4gemm_amx_shape *s, q4gemm_amx_space *space,
                            const qepilogue *tail, size_t i, const amx_split *split, size_t panel, size_t panels)
{
    const size_t tile = round_up(q4gemm_amx_width(s), AMX_ROW_BYTES) * AMX_ROWS;
    for (size_t t = 0; t < split->count; t += 2) {
        const size_t r = min_size(t * split->rows, split->last), second = min_size(r + split->rows, split->last) - r;
        const int8_t *a = space->row + t * tile;
        q4gemm_amx_tiles(p, s, space, a, a + tile, panel, panels, second, second + split->rows);
        for (size_t x = 0; x < panels; x++)
            q4gemm_tail_avx2(p, tail, panel + x, i + r, second + split->rows, space->v[x]);
    }
}

void q4gemm_amx(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_q4gemm_args *p = args;
    const q4gemm_amx_shape s = q4gemm_amx_shape_make(p);
    const qepilogue tail = qepilogue_make_floats(&p->output, p->ot);
    q4gemm_amx_space *space = scratch;
    amx_split split = { 0 };
    if (begin >= end)
        return;
    q4gemm_amx_space_make(&s, space);
    amx_enter(&space->tiles);
    for (size_t u = begin; u < end; u++) {
        const size_t panel = u % s.pairs * 2, i = u / s.pairs * s.rows, panels = min_size(2, s.panels - panel);
        if (u == begin || !panel) {
            split = amx_split_make(min_size(s.rows, p->m - i), 2);
            q4gemm_amx_sign_rows(p, &s, i, &split, space->row);
            q4gemm_amx_configure(&s, split.rows, space);
        }
        for (size_t x = 0; x < panels; x++)
            q4gemm_amx_unpack(p, &s, panel + x, space->panel[x]);
        q4gemm_amx_unit(p, &s, space, &tail, i, &split, panel, panels);
    }
    amx_leave(&space->tiles);
}

PCX_TARGET_END
#endif
