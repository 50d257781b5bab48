/* qrecurrent_rows.c - the driver: recurrent's, with states that are quantized before each product. */
#include "qrecurrent.h"

enum { QRECURRENT_GATES = 4 };

/* The same arguments without weights. */
static pcx_recurrent_args qrecurrent_rows_args(const pcx_qrecurrent_args *p)
{
    return (pcx_recurrent_args){
        .g = QRECURRENT_GATES, .coupled = p->coupled, .backward = p->backward, .t = p->t, .xt = p->xt, .b = p->b, .xb = p->xb,
        .d = p->d, .h = p->h, .x = p->x, .peepholes = p->peepholes, .lengths = p->lengths, .h0 = p->h0, .c = p->h,
        .c0 = p->c0, .acts = p->acts, .act_params = p->act_params, .clip = p->clip, .ot = p->ot, .od = p->od, .ob = p->ob,
        .out = p->out, .out_h = p->out_h, .out_c = p->out_c,
    };
}

/* Beside recurrent's scratch, for the rows of a block. */
typedef struct {
    const pcx_qrecurrent_args *p;
    const qrecurrent_micro *micro;
    uint8_t *codes; /* [rows:round_up(h, 4),h], zeros between the rows */
    float *scale;   /* [rows] */
    int32_t *zero;  /* [rows] */
    int32_t *sum;   /* [rows,4*width] */
    void *product;  /* qgemm's */
} qrecurrent_space;

static size_t qrecurrent_rows_width(const pcx_qrecurrent_args *p) { return round_up(p->h, QGEMM_NR); }

static pcx_qgemm_args qrecurrent_rows_product(const qrecurrent_space *s, size_t rows, size_t direction)
{
    const pcx_qrecurrent_args *p = s->p;
    const size_t n = QRECURRENT_GATES * qrecurrent_rows_width(p), lda = round_up(p->h, 4);
    return (pcx_qgemm_args){ .m = rows, .lda = lda, .k = p->h, .a = s->codes, .ldz = 1, .azp = s->zero, .n = n,
                             .w = p->w + direction * n * lda, .colsum = p->colsum + direction * n,
                             .wzp = p->wzp ? p->wzp + direction * n : NULL,
                             .prepared = p->prepared ? qgemm_acc16_at(p->prepared, direction * n / QGEMM_NR, lda / 4) : NULL,
                             .ldo = n, .ot = PCX_I32, .out = s->sum };
}

/* The bytes of all scratch; with `scratch`, also where its parts are, behind recurrent's. */
static size_t qrecurrent_rows_space(const pcx_qrecurrent_args *p, const qrecurrent_micro *micro, char *scratch, qrecurrent_space *s)
{
    const pcx_recurrent_args plain = qrecurrent_rows_args(p);
    const size_t rows = min_size(recurrent_rows_block(p->b), p->b), n = QRECURRENT_GATES * qrecurrent_rows_width(p);
    const size_t codes = round_up(recurrent_rows_scratch(&plain, micro->loops), 64);
    const size_t scale = codes + round_up(rows * round_up(p->h, 4), 64), zero = scale + round_up(rows * sizeof *s->scale, 64);
    const size_t sum = zero + round_up(rows * sizeof *s->zero, 64), product = sum + round_up(rows * n * sizeof *s->sum, 64);
    *s = (qrecurrent_space){ .p = p, .micro = micro };
    if (scratch) {
        s->codes = (uint8_t *)scratch + codes;
        s->scale = (float *)(void *)(scratch + scale);
        s->zero = (int32_t *)(void *)(scratch + zero);
        s->sum = (int32_t *)(void *)(scratch + sum);
        s->product = scratch + product;
        memset(s->codes, 0, scale - codes);
    }
    size_t most = 0; /* fewer rows may take more, where blocks are cut in another way */
    for (size_t i = 1; i <= rows; i++) {
        const pcx_qgemm_args args = qrecurrent_rows_product(s, i, 0);
        most = max_size(most, qgemm_rows_scratch(&args, micro->product));
    }
    return product + most;
}

static void qrecurrent_rows_multiply(const void *with, const sgemm_rows *rows, size_t direction, size_t begin, size_t end)
{
    const qrecurrent_space *s = with;
    const pcx_qrecurrent_args *p = s->p;
    const size_t width = qrecurrent_rows_width(p), lda = round_up(p->h, 4);
    for (size_t i = 0; i < rows->count; i++)
        s->micro->quantize(rows->a[i], p->h, s->codes + i * lda, s->scale + i, s->zero + i);
    const pcx_qgemm_args args = qrecurrent_rows_product(s, rows->count, direction);
    qgemm_rows_run(&args, 0, qgemm_rows_units(&args, s->micro->product), s->product, s->micro->product);
    for (size_t i = 0; i < rows->count; i++)
        for (size_t gate = begin; gate < end; gate++)
            s->micro->widen(s->sum + (i * QRECURRENT_GATES + gate) * width, s->scale[i],
                            p->scale + (direction * QRECURRENT_GATES + gate) * p->h, rows->out[i] + gate * width, p->h);
}

size_t qrecurrent_rows_units(const void *args, const qrecurrent_micro *micro)
{
    const pcx_recurrent_args plain = qrecurrent_rows_args(args);
    return recurrent_rows_units(&plain, micro->loops);
}

size_t qrecurrent_rows_scratch(const void *args, const qrecurrent_micro *micro)
{
    qrecurrent_space s;
    return qrecurrent_rows_space(args, micro, NULL, &s);
}

void qrecurrent_rows_run(const void *args, size_t begin, size_t end, void *scratch, const qrecurrent_micro *micro)
{
    const pcx_recurrent_args plain = qrecurrent_rows_args(args);
    qrecurrent_space s;
    qrecurrent_rows_space(args, micro, scratch, &s);
    recurrent_rows_steps(&plain, begin, end, scratch, micro->loops, qrecurrent_rows_multiply, &s);
}

static pcx_qgemm_args qrecurrent_rows_weights(const pcx_qrecurrent_args *p)
{
    return (pcx_qgemm_args){ .k = p->h, .n = p->d * QRECURRENT_GATES * qrecurrent_rows_width(p), .w = p->w };
}

size_t qrecurrent_rows_prepared(const void *args)
{
    const pcx_qgemm_args weights = qrecurrent_rows_weights(args);
    return qgemm_rows_prepared(&weights);
}

void qrecurrent_rows_prepare(const void *args, void *prepared)
{
    const pcx_qgemm_args weights = qrecurrent_rows_weights(args);
    qgemm_rows_prepare(&weights, prepared);
}
