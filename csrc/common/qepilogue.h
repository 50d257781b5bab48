/*
 * qepilogue.h - from exact int32 sums to the output, for every integer kernel.
 *
 * This and qepilogue_<isa>.h do the same float operations in the same order: products and
 * sums are rounded one by one, clamping comes before the conversion to an integer (where CPUs
 * differ on overflow), `x < high ? x : high` sends NaN to `high` as minps does.
 */
#ifndef PCX_QEPILOGUE_H
#define PCX_QEPILOGUE_H

#include "act.h"

enum { QT_NR = 16 }; /* sums come in rows of so many columns */

enum { QT_ZERO, QT_U8, QT_I32, QT_F32 };

/* round(v) + zero, held in [least, greatest]: the float bounds are those before the zero point. */
typedef struct {
    float low, high;
    int32_t zero, least, greatest;
} qt_clamp;

/* A pcx_qepilogue made ready.  `mode` is QT_ZERO where an argument that it needs is missing. */
typedef struct {
    pcx_qoutput q;
    const int32_t *bias;
    const float *scale;
    int mode;
    size_t bytes; /* of one output element */
    qt_clamp clamp, add;
    float add_scale[2];
    int32_t add_zero[2];
    uint8_t rise[256]; /* of the lut, for qt_table_avx2: [x] ^ [x - 16], of each half by itself */
} qtail;

static inline int32_t qt_u8(int32_t x) { return x < 0 ? 0 : x > 255 ? 255 : x; }

static inline qt_clamp qt_make_clamp(const int32_t *zero_least_greatest)
{
    const int32_t zero = qt_u8(zero_least_greatest[0]), least = qt_u8(zero_least_greatest[1]);
    const int32_t greatest = qt_u8(zero_least_greatest[2]);
    return (qt_clamp){ (float)(least - zero), (float)(greatest - zero), zero, least, greatest };
}

/* For outputs from floats: qtail_floats. */
static inline qtail qtail_of_floats(const pcx_qoutput *q, size_t dtype)
{
    qtail t = { .q = *q, .mode = QT_ZERO, .bytes = pcx_dtype_bytes(dtype) };
    if (dtype == PCX_F32)
        t.mode = QT_F32;
    if (dtype == PCX_U8 && q->clamp) {
        t.mode = QT_U8;
        t.clamp = qt_make_clamp(q->clamp);
        for (size_t x = 0; q->lut && x < sizeof t.rise; x++)
            t.rise[x] = x % 128 < 16 ? q->lut[x] : q->lut[x] ^ q->lut[x - 16];
    }
    if (t.mode == QT_U8 && q->residual && q->add_scale && q->add_zero) {
        memcpy(t.add_scale, q->add_scale, sizeof t.add_scale);
        memcpy(t.add_zero, q->add_zero, sizeof t.add_zero);
        t.add = qt_make_clamp(q->add_zero + 2);
    } else {
        t.q.residual = NULL;
    }
    return t;
}

/* For outputs from exact sums: qtail_row. */
static inline qtail qtail_make(const pcx_qepilogue *q, size_t dtype)
{
    qtail t = qtail_of_floats(&q->output, dtype);
    t.bias = q->bias;
    t.scale = q->scale;
    if (dtype == PCX_I32)
        t.mode = QT_I32;
    else if (!q->scale)
        t.mode = QT_ZERO;
    return t;
}

static inline int32_t qt_round(float v, const qt_clamp *c)
{
    v = v < c->high ? v : c->high;
    v = v > c->low ? v : c->low;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to the nearest even integer */
    return (int32_t)((v + magic) - magic) + c->zero;
}

/* Columns [j, j + cols) of row i: v[0..cols), in steps of the output, to `out`, the place of element (i, j). */
static inline void qtail_floats(const qtail *t, size_t i, size_t j, size_t cols, const float *v, void *out)
{
    uint8_t *bytes = out;
    float *floats = out;
    switch (t->mode) {
    case QT_F32:
        for (size_t c = 0; c < cols; c++)
            floats[c] = pcx_act(v[c], t->q.act, t->q.act_params);
        return;
    case QT_U8:
        for (size_t c = 0; c < cols; c++)
            bytes[c] = (uint8_t)qt_round(v[c], &t->clamp);
        if (t->q.lut)
            for (size_t c = 0; c < cols; c++)
                bytes[c] = t->q.lut[bytes[c]];
        if (t->q.residual) {
            const uint8_t *r = t->q.residual + i * t->q.ldr + j;
            for (size_t c = 0; c < cols; c++) {
                const float mine = (float)(int32_t)((uint32_t)bytes[c] - (uint32_t)t->add_zero[0]) * t->add_scale[0];
                const float theirs = (float)(int32_t)((uint32_t)r[c] - (uint32_t)t->add_zero[1]) * t->add_scale[1];
                bytes[c] = (uint8_t)qt_round(mine + theirs, &t->add);
            }
        }
        return;
    default: memset(out, 0, cols * t->bytes);
    }
}

/* The same for exact sums. */
static inline void qtail_row(const qtail *t, size_t i, size_t j, size_t cols, const int32_t *acc, void *out)
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
        qtail_floats(t, i, j + from, count, v, (char *)out + from * t->bytes);
    }
}

#endif
