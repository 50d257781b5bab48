/*
 * csrmm_panel_avx512.h - rows of W times a panel for one type of values, 512 bits.  A template, without a guard:
 *
 *   PANEL_ROWS                     the name of the function, and PANEL_SOME, PANEL_LIST of others behind it
 *   TILE_REAL, TILE_VECTOR, TILE_LOAD, TILE_BROADCAST, TILE_FMA   as for spmm_tile.h
 *   PANEL_STORE, PANEL_ZERO, PANEL_PART, PANEL_PUT_PART   store, zero, and load and store with a mask
 *   PANEL_QUAD, PANEL_PICK(q, i)   four values in each part of a vector, and value i of them in all lanes: loads limit,
 *                                  so four values cost one
 *   PANEL_HALVES                   1, and PANEL_HALF_FMA(by, x, sum), PANEL_HALF_LOAD, PANEL_HALF_STORE of their lower
 *                                  halves: where the last vector repeats half of the one before it or more, `half`
 *                                  leaves half of it out; or 0 and the same as for whole vectors, for less code
 *
 * A panel's columns lie as csrmm_panel.h puts them.  What does not fit an L1 cache is multiplied by slices of k: a row
 * stops at its first column beyond the slice, and goes on from there in the next one.  So its values are added in the
 * order in which they are stored, whatever that order is; if it rises, a slice is read from L1.
 */
#define PANEL_LANES (sizeof(TILE_VECTOR) / sizeof(TILE_REAL))

/* sum[v] += by * x[v]; x has a register of its own, see spmm_tile.h. */
#define PANEL_ONE(by, x, sum) \
    do { \
        const TILE_VECTOR one = by; \
        const char *at = x; \
        PCX_OPAQUE(at); \
        PCX_UNROLL for (int v = 0; v < nv - half; v++) \
            (sum)[v] = TILE_FMA(one, TILE_LOAD((const TILE_REAL *)(const void *)(at + v * sizeof one)), (sum)[v]); \
        if (half) \
            (sum)[nv - 1] = PANEL_HALF_FMA( \
                one, (const TILE_REAL *)(const void *)(at + nv * sizeof one - sizeof one / 2), (sum)[nv - 1]); \
    } while (0)

/* Value i of the four from q on, of each row. */
#define PANEL_EACH(i) \
    PCX_UNROLL for (int r = 0; r < rows; r++) \
        PANEL_ONE(PANEL_PICK(four[r], i), panel + (size_t)columns[r][q + i] * (nv * sizeof(TILE_VECTOR)), sum[r])

/*
 * `rows` rows of W side by side, as sums of few vectors would wait for each FMA, from `cursor` to `limit`; `first`:
 * their sums begin at zero.  Only `active` of them are there, at the end, where one copy of this is to do.
 */
PCX_INLINE void PANEL_SOME(const pcx_csrmm_args *p, int own, size_t row, uint32_t *cursor, uint32_t limit, int first,
                           const char *panel, TILE_REAL *out, size_t count, const int rows, size_t active, const int nv,
                           const int half)
{
    enum { LANES = PANEL_LANES };
    const TILE_REAL *w = p->w;
    const size_t last = count >= LANES ? count - LANES : 0; /* where the last vector lies */
    const unsigned mask = count >= LANES ? (1u << LANES) - 1 : (1u << count) - 1;
    TILE_VECTOR sum[4][4];
    int32_t copy[4][CSRMM_CHUNK];
    const int32_t *columns[4];
    size_t some[4], more = 0;
    PCX_UNROLL for (int r = 0; r < rows; r++)
        PCX_UNROLL for (int v = 0; v < nv; v++)
            sum[r][v] = first || (size_t)r >= active ? PANEL_ZERO()
                        : v + 1 < nv ? TILE_LOAD(out + r * p->ldo + v * PANEL_LANES)
                        : half       ? PANEL_HALF_LOAD(out + r * p->ldo + last + LANES / 2)
                                     : PANEL_PART(mask, out + r * p->ldo + last);
    do {
        size_t together = SIZE_MAX, q = 0;
        more = 0;
        PCX_UNROLL for (int r = 0; r < rows; r++) {
            some[r] = 0;
            columns[r] = NULL;
            if ((size_t)r < active) {
                some[r] = csrmm_avx512_columns(p, cursor[r], csrmm_bound(p, row + r + 1), limit, own ? NULL : copy[r]);
                columns[r] = own ? p->index + cursor[r] : copy[r];
            }
            together = min_size(together, some[r]);
            more |= some[r] == CSRMM_CHUNK;
        }
        for (; q + 4 <= together; q += 4) {
            TILE_VECTOR four[4];
            PCX_UNROLL for (int r = 0; r < rows; r++)
                four[r] = PANEL_QUAD(w + cursor[r] + q);
            PANEL_EACH(0);
            PANEL_EACH(1);
            PANEL_EACH(2);
            PANEL_EACH(3);
        }
        PCX_UNROLL for (int r = 0; r < rows; r++) {
            for (size_t i = q; i < some[r]; i++)
                PANEL_ONE(TILE_BROADCAST(w + cursor[r] + i),
                          panel + (size_t)columns[r][i] * (nv * sizeof(TILE_VECTOR)), sum[r]);
            if ((size_t)r < active)
                cursor[r] += (uint32_t)some[r];
        }
    } while (more);
    PCX_UNROLL for (int r = 0; r < rows; r++, out += p->ldo) {
        if ((size_t)r >= active)
            break;
        PCX_UNROLL for (int v = 0; v < nv - 1; v++)
            PANEL_STORE(out + v * PANEL_LANES, sum[r][v]);
        if (half)
            PANEL_HALF_STORE(out + last + LANES / 2, sum[r][nv - 1]);
        else if (PCX_LIKELY(count >= LANES))
            PANEL_STORE(out + last, sum[r][nv - 1]);
        else
            PANEL_PUT_PART(out, mask, sum[r][nv - 1]);
    }
}

/* Rows [first, last), `rows` at a time; see csrmm_micro. */
PCX_INLINE void PANEL_LIST(const pcx_csrmm_args *p, int own, size_t first, size_t last, const void *panel,
                           TILE_REAL *out, size_t count, const int rows, const int nv, const int half)
{
    enum { BLOCK = 256 }; /* rows that wait for the next slice */
    const size_t slices = csrmm_avx512_slices(p, nv * sizeof(TILE_VECTOR));
    uint32_t cursor[BLOCK];
    for (size_t block = first, end; block < last; block = end) {
        end = min_size(block + BLOCK, last);
        for (size_t r = block; r < end; r++)
            cursor[r - block] = (uint32_t)csrmm_bound(p, r);
        for (size_t slice = 0; slice < slices; slice++) {
            const uint32_t limit = (uint32_t)(slice + 1 < slices ? p->k * (slice + 1) / slices : p->k);
            for (size_t r = block; r < end; r += (size_t)rows)
                PANEL_SOME(p, own, r, cursor + (r - block), limit, !slice, panel, out + (r - first) * p->ldo, count,
                           rows, min_size((size_t)rows, end - r), nv, half);
        }
    }
}

static void PANEL_ROWS(const pcx_csrmm_args *p, int own, size_t first, size_t last, const void *panel, void *out,
                       size_t count)
{
    const size_t vectors = ceil_div(count, PANEL_LANES), rest = count % PANEL_LANES;
    switch (2 * vectors + (PANEL_HALVES && vectors > 1 && rest && rest <= PANEL_LANES / 2)) {
    case 2: PANEL_LIST(p, own, first, last, panel, out, count, 4, 1, 0); break;
    case 4: PANEL_LIST(p, own, first, last, panel, out, count, 2, 2, 0); break;
#if PANEL_HALVES
    case 5: PANEL_LIST(p, own, first, last, panel, out, count, 2, 2, 1); break;
    case 7: PANEL_LIST(p, own, first, last, panel, out, count, 2, 3, 1); break;
    case 9: PANEL_LIST(p, own, first, last, panel, out, count, 1, 4, 1); break;
#endif
    case 6: PANEL_LIST(p, own, first, last, panel, out, count, 2, 3, 0); break;
    case 8: PANEL_LIST(p, own, first, last, panel, out, count, 1, 4, 0); break;
    }
}

#undef PANEL_LANES
#undef PANEL_ONE
#undef PANEL_EACH
#undef PANEL_SOME
#undef PANEL_LIST
#undef PANEL_ROWS
#undef PANEL_ZERO
#undef PANEL_PART
#undef PANEL_PUT_PART
#undef PANEL_STORE
#undef PANEL_HALVES
#undef PANEL_HALF_FMA
#undef PANEL_HALF_LOAD
#undef PANEL_HALF_STORE
#undef PANEL_QUAD
#undef PANEL_PICK
#undef TILE_REAL
#undef TILE_VECTOR
#undef TILE_LOAD
#undef TILE_BROADCAST
#undef TILE_FMA
