/* qpack.c - packs run-time integer weights into panels of 16 columns, four at a time along l. */
#include "../common/pcx.h"

enum { QPACK_NR = 16, QPACK_KR = 4 };

static size_t qpack_units(const void *args) { return ceil_div(((const pcx_qpack_args *)args)->n, QPACK_NR); }

/* One column: each group of four stands 64 bytes after the one before.  Returns its sum, modulo 2^32. */
static uint32_t qpack_column(const pcx_qpack_args *p, const uint8_t *x, int8_t *out)
{
    const uint8_t flip = p->xt == PCX_U8 ? 0x80 : 0; /* w - 128 */
    uint32_t sum = 0;
    for (size_t s = 0; s < p->s; s++)
        for (size_t l = 0; l < round_up(p->l, QPACK_KR); l += QPACK_KR, out += QPACK_NR * QPACK_KR)
            for (size_t i = 0; i < QPACK_KR; i++) {
                out[i] = l + i < p->l ? (int8_t)(x[s * p->xs + (l + i) * p->xl] ^ flip) : 0;
                sum += (uint32_t)out[i];
            }
    return sum;
}

static void qpack_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_qpack_args *p = args;
    const size_t panel_bytes = p->s * round_up(p->l, QPACK_KR) * QPACK_NR;
    (void)scratch;
    for (size_t panel = begin; panel < end; panel++)
        for (size_t j = 0; j < QPACK_NR; j++) {
            const size_t n = panel * QPACK_NR + j;
            int8_t *out = p->out + panel * panel_bytes + j * QPACK_KR;
            if (n < p->n) {
                p->out_colsum[n] = (int32_t)qpack_column(p, (const uint8_t *)p->x + n * p->xn, out);
                continue;
            }
            for (size_t i = 0; i < panel_bytes; i += QPACK_NR * QPACK_KR)
                memset(out + i, 0, QPACK_KR);
        }
}

static const pcx_impl qpack_impls[] = {
    { "scalar", 0, qpack_units, qpack_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_qpack = {
    "qpack", 1,
    "n xn s xs l xl xt x:{u8,i8}xt[n:xn,s:xs,l:xl] out:i8[ceil(n/16),s,ceil(l/4),16,4] out_colsum:i32[n]",
    qpack_impls,
};
