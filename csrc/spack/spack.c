/* spack.c - packs run-time weights into panels of 16 columns.  A unit is a panel. */
#include "../common/pcx.h"

enum { SPACK_NR = 16 };

static size_t spack_units(const void *args) { return ceil_div(((const pcx_spack_args *)args)->n, SPACK_NR); }

static void spack_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_spack_args *p = args;
    (void)scratch;
    for (size_t panel = begin; panel < end; panel++) {
        const size_t first = panel * SPACK_NR, columns = min_size(p->n - first, SPACK_NR);
        const float *x = p->x + first * p->xn;
        float *out = p->out + panel * p->k * SPACK_NR;
        for (size_t q = 0; q < p->k; q++, x += p->xk, out += SPACK_NR) {
            if (columns == SPACK_NR && p->xn == 1) {
                memcpy(out, x, SPACK_NR * sizeof *out);
                continue;
            }
            for (size_t j = 0; j < SPACK_NR; j++)
                out[j] = j < columns ? x[j * p->xn] : 0;
        }
    }
}

static const pcx_impl spack_impls[] = {
    { "scalar", 0, spack_units, spack_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_spack = {
    "spack", 1,
    "n xn k xk x:f32[n:xn,k:xk] out:f32[ceil(n/16),k,16]",
    spack_impls,
};
