/*
 * qepilogue.h - from exact int32 sums to the output, for every integer kernel.
 *
 * This and qepilogue_<isa>.h do the same float operations in the same order: products and
 * sums are rounded separately, clamping comes before the conversion to an integer (where CPUs
 * differ on overflow), and `x < high ? x : high` gives `high` for NaN, as minps does.
 */
#ifndef PCX_QEPILOGUE_H
#define PCX_QEPILOGUE_H

#include "act.h"

enum { QT_NR = 16 }; /* columns of a row of sums */

enum { QT_ZERO, QT_U8, QT_I32, QT_F32 };

/*
 * What vectors of a tail need not do: clamp before the conversion, since all scales are below 1 and no float(sum) * scale
 * reaches 2^31; add zero; clamp after it to 0, 255.
 */
enum { QT_SMALL = 1, QT_NO_ZERO = 2, QT_NO_CLAMP = 4 };

/* round(v) + zero, clamped to [min, max]: the float bounds are those before the zero point. */
typedef struct {
    float low, high;
    int32_t zero, min, max;
} qepilogue_clamp;

/* A pcx_qepilogue with derived values.  `mode` is QT_ZERO if an argument that it needs is missing. */
typedef struct {
    pcx_qoutput q;
    const int32_t *bias;
    const float *scale;
    int mode;
    size_t bytes; /* of one output element */
    qepilogue_clamp clamp, add;
    float add_scale[2];
    int32_t add_zero[2];
    uint8_t rise[256]; /* for qepilogue_avx2_table: lut[x] ^ lut[x - 16], separately for each half of the table */
} qepilogue;

static inline int32_t qepilogue_u8(int32_t x) { return x < 0 ? 0 : x > 255 ? 255 : x; }

static inline qepilogue_clamp qepilogue_clamp_make(const int32_t *zero_min_max)
{
    const int32_t zero = qepilogue_u8(zero_min_max[0]), min = qepilogue_u8(zero_min_max[1]);
    const int32_t max = qepilogue_u8(zero_min_max[2]);
    return (qepilogue_clamp){ (float)(min - zero), (float)(max - zero), zero, min, max };
}

/* For outputs from floats: qepilogue_floats. */
static inline qepilogue qepilogue_make_floats(const pcx_qoutput *q, size_t dtype)
{
    qepilogue t = { .q = *q, .mode = QT_ZERO, .bytes = pcx_dtype_bytes(dtype) };
    if (dtype == PCX_F32)
        t.mode = QT_F32;
    if (dtype == PCX_U8 && q->clamp) {
        t.mode = QT_U8;
        t.clamp = qepilogue_clamp_make(q->clamp);
        for (size_t x = 0; q->lut && x < sizeof t.rise; x++)
            t.rise[x] = x % 128 < 16 ? q->lut[x] : q->lut[x] ^ q->lut[x - 16];
    }
    if (t.mode == QT_U8 && q->residual && q->add_scale && q->add_zero) {
        memcpy(t.add_scale, q->add_scale, sizeof t.add_scale);
        memcpy(t.add_zero, q->add_zero, sizeof t.add_zero);
        t.add = qepilogue_clamp_make(q->add_zero + 2);
    } else {
        t.q.residual = NULL;
    }
    return t;
}

/* For outputs from exact sums: qepilogue_row. */
static inline qepilogue qepilogue_make(const pcx_qepilogue *q, size_t dtype)
{
    qepilogue t = qepilogue_make_floats(&q->output, dtype);
    t.bias = q->bias;
    t.scale = q->scale;
    if (dtype == PCX_I32)
        t.mode = QT_I32;
    else if (!q->scale)
        t.mode = QT_ZERO;
    return t;
}

static inline int32_t qepilogue_round(float v, const qepilogue_clamp *c)
{
    v = v < c->high ? v : c->high;
    v = v > c->low ? v : c->low;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to the nearest even integer */
    return (int32_t)((v + magic) - magic) + c->zero;
}

/* Columns [j, j + cols) of row i: v[0..cols), in units of the output's scale, to `out`, the place of (i, j). */
static inline void qepilogue_floats(const qepilogue *t, size_t i, size_t j, size_t cols, const float *v, void *out)
{
    uint8_t *bytes = out;
    float *floats = out;
    switch (t->mode) {
    case QT_F32:
        for (size_t c = 0; c < cols; c++)
            floats[c] = act_apply(v[c], t->q.act, t->q.act_params);
        return;
    case QT_U8:
        for (size_t c = 0; c < cols; c++)
            bytes[c] = (uint8_t)qepilogue_round(v[c], &t->clamp);
        if (t->q.lut)
            for (size_t c = 0; c < cols; c++)
                bytes[c] = t->q.lut[bytes[c]];
        if (t->q.residual) {
            const uint8_t *r = t->q.residual + i * t->q.ldr + j;
            for (size_t c = 0; c < cols; c++) {
                const float mine = (float)(int32_t)((uint32_t)bytes[c] - (uint32_t)t->add_zero[0]) * t->add_scale[0];
                const float residual = (float)(int32_t)((uint32_t)r[c] - (uint32_t)t->add_zero[1]) * t->add_scale[1];
                bytes[c] = (uint8_t)qepilogue_round(mine + residual, &t->add);
            }
        }
        return;
    default: memset(out, 0, cols * t->bytes);
    }
}

/* The same for exact sums. */
static inline void qepilogue_row(const qepilogue *t, size_t i, size_t j, size_t cols, const int32_t *acc, void *out)
{
    if (t->mode == QT_I32) {
        memcpy(out, acc, cols * sizeof *acc);
        return;
    }
    for (size_t from = 0; from < cols; from += QT_NR) {
        const size_t count = min_size(QT_NR, cols - from);
        float v[QT_NR];
        for (size_t c = 0; t->mode != QT_ZERO && c < count; c++)
            v[c] = (float)acc[from + c] * t->scale[j + from + c];
        qepilogue_floats(t, i, j + from, count, v, (char *)out + from * t->bytes);
    }
}

/* qepilogue_row, not inlined. */
PCX_HIDDEN void qepilogue_any_row(const qepilogue *t, size_t i, size_t j, size_t cols, const int32_t *acc, void *out);

#endif
