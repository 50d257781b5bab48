/*
 * spmm_ends.h - panels from rows of pixels, and from sums to them: transposes, and the epilogue.  A template for vectors of
 * eight floats, included once in a file after spmm_multiply.h, with its macros and
 *
 *   SPMM_HARDSWISH   hardswish of a vector
 *   SPMM_ACT_ROW     (out, x, count, act, params): any activation of whole vectors in memory
 *
 * It makes SPMM(gather) and SPMM(finish), for spmm_micro.
 */
/* The epilogues in registers: none, two bounds, hardswish; all others, and unusual strides, go through memory (FEW). */
enum { PLAIN, BOUNDS, HARDSWISH, SLOW, FEW };

/* The epilogue of eight pixels from `pixel` on and eight columns from `column` on; sums[c], `width` apart, are c's. */
PCX_INLINE void SPMM(put_tile)(const pcx_spmm_args *p, const float *sums, size_t width, size_t column, size_t pixel,
                               const int how, SPMM_VECTOR low, SPMM_VECTOR high)
{
    const float *residual = p->tail.residual;
    float *out = p->out + pixel * p->ldo + column, part[SPMM_LANES * SPMM_LANES];
    SPMM_VECTOR t[SPMM_LANES];
    spmm_transpose_8x8(sums, width, t);
    if (residual) {
        residual += pixel * p->tail.ldr + column;
        PCX_UNROLL
        for (int i = 0; i < SPMM_LANES; i++, residual += p->tail.ldr)
            t[i] = SPMM_ADD(t[i], SPMM_LOAD(residual));
    }
    if (how == SLOW) {
        PCX_UNROLL
        for (int i = 0; i < SPMM_LANES; i++)
            SPMM_STORE(part + i * SPMM_LANES, t[i]);
        SPMM_ACT_ROW(part, part, SPMM_LANES * SPMM_LANES, p->tail.act, p->tail.act_params);
    }
    PCX_UNROLL
    for (int i = 0; i < SPMM_LANES; i++, out += p->ldo) { /* max and min return their second argument if one is NaN */
        if (how == BOUNDS)
            t[i] = SPMM_MIN(high, SPMM_MAX(low, t[i]));
        else if (how == HARDSWISH)
            t[i] = SPMM_HARDSWISH(t[i]);
        else if (how == SLOW)
            t[i] = SPMM_LOAD(part + i * SPMM_LANES);
        SPMM_STORE(out, t[i]);
    }
}

/* The same for less than eight columns or pixels, and any strides. */
PCX_NOINLINE static void SPMM(put_few)(const pcx_spmm_args *p, const float *sums, size_t width, size_t column,
                                         size_t columns, size_t pixel, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++) {
        float part[SPMM_LANES] = { 0 };
        for (size_t c = 0; c < columns; c++) {
            part[c] = sums[c * width + i];
            part[c] += p->tail.residual ? p->tail.residual[(pixel + i) * p->tail.ldr + (column + c) * p->lds] : 0;
        }
        SPMM_ACT_ROW(part, part, SPMM_LANES, p->tail.act, p->tail.act_params);
        for (size_t c = 0; c < columns; c++)
            p->out[(pixel + i) * p->ldo + (column + c) * p->ldc] = part[c];
    }
}

/*
 * The epilogue of the rows [first, last) of w for a panel of pixels.  The last eight columns or pixels may overlap
 * those before: the same numbers come out.
 */
PCX_INLINE void SPMM(put_block)(const pcx_spmm_args *p, const float *sums, size_t lanes, size_t width,
                                    size_t first, size_t last, size_t pixel, size_t pixels, const int how)
{
    const size_t columns = last - first;
    float bounds[2];
    act_bounds(p->tail.act, p->tail.act_params, bounds, bounds + 1);
    const SPMM_VECTOR low = SPMM_BROADCAST(bounds), high = SPMM_BROADCAST(bounds + 1);
    for (size_t at = 0, done = 0; done < pixels; at += SPMM_LANES) {
        const size_t from = spmm_pixel(at, pixels, lanes), to = pixel + from;
        if (from + SPMM_LANES <= done)
            continue;
        done = from + SPMM_LANES;
        for (size_t i = 0; i < columns; i += SPMM_LANES) {
            const size_t c = spmm_back(i, columns, SPMM_LANES);
            if (PCX_LIKELY(how != FEW && columns >= SPMM_LANES && pixels >= SPMM_LANES))
                SPMM(put_tile)(p, sums + c * width + at, width, first + c, to, how, low, high);
            else
                SPMM(put_few)(p, sums + c * width + at, width, first + c, min_size(SPMM_LANES, columns), to,
                                  min_size(SPMM_LANES, pixels));
        }
    }
}

void SPMM(finish)(const pcx_spmm_args *p, const float *sums, size_t lanes, size_t width, size_t first, size_t last,
                      size_t pixel, size_t pixels)
{
    if (p->ldc != 1 || (p->tail.residual && p->lds != 1))
        SPMM(put_block)(p, sums, lanes, width, first, last, pixel, pixels, FEW);
    else if (p->tail.act == PCX_ACT_NONE)
        SPMM(put_block)(p, sums, lanes, width, first, last, pixel, pixels, PLAIN);
    else if (p->tail.act <= PCX_ACT_CLIP)
        SPMM(put_block)(p, sums, lanes, width, first, last, pixel, pixels, BOUNDS);
    else if (p->tail.act == PCX_ACT_HARDSWISH)
        SPMM(put_block)(p, sums, lanes, width, first, last, pixel, pixels, HARDSWISH);
    else
        SPMM(put_block)(p, sums, lanes, width, first, last, pixel, pixels, SLOW);
}

void SPMM(gather)(const pcx_spmm_args *p, const float *a, size_t pixels, size_t lanes, size_t width, float *to)
{
    if (p->ldk == 1) {
        spmm_transpose_in(a, p->lda, pixels, lanes, to, width, p->k);
    } else if (p->lda == 1 && pixels >= SPMM_LANES) {
        for (size_t q = 0; q < p->k; q++)
            for (size_t i = 0; i < width; i += SPMM_LANES)
                SPMM_STORE(to + q * width + i, SPMM_LOAD(a + q * p->ldk + spmm_pixel(i, pixels, lanes)));
    } else {
        for (size_t q = 0; q < p->k; q++)
            for (size_t i = 0; i < width; i++) {
                const size_t at = spmm_pixel(i - i % SPMM_LANES, pixels, lanes) + i % SPMM_LANES;
                to[q * width + i] = a[min_size(at, pixels - 1) * p->lda + q * p->ldk];
            }
    }
}
