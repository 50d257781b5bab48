/* qdwconv.h - what the qdwconv files share.  A unit is eight output pixels. */
#ifndef PCX_QDWCONV_H
#define PCX_QDWCONV_H

#include "../runtime/qepilogue.h"

static inline size_t qdwconv_pixels(const pcx_qdwconv_args *p) { return p->c ? p->b * p->oh * p->ow : 0; }

enum { QDWCONV_UNIT = 8 }; /* pixels */

/*
 * Pixels taken together, whole units: many where there are few channels, so that what is computed
 * once for them weighs little; but no table of taps beyond reason.
 */
static inline size_t qdwconv_block(const pcx_qdwconv_args *p)
{
    const size_t most = min_size(max_size(16384 / max_size(p->c, 1), 64), 8192 / min_size(p->kh * p->kw, 1024));
    return round_up(min_size(most, qdwconv_pixels(p)), QDWCONV_UNIT);
}

/* Where in the image the window of an output pixel begins: above or left of it, sizes wrap and are huge. */
typedef struct {
    size_t image, y, x;
} qdwconv_place;

static inline qdwconv_place qdwconv_at(const pcx_qdwconv_args *p, size_t pixel)
{
    const size_t line = pixel / p->ow;
    return (qdwconv_place){ line / p->oh, line % p->oh * p->sh - p->pt, pixel % p->ow * p->sw - p->pl };
}

/* The pixel that the tap (ky, kx) of a window meets, or NULL in the padding. */
static inline const uint8_t *qdwconv_tap(const pcx_qdwconv_args *p, const qdwconv_place *at, size_t ky, size_t kx)
{
    const size_t y = at->y + ky * p->dh, x = at->x + kx * p->dw;
    return y < p->ih && x < p->iw ? p->x + ((at->image * p->ih + y) * p->iw + x) * p->ldx : NULL;
}

static inline pcx_qepilogue qdwconv_tail(const pcx_qdwconv_args *p)
{
    return (pcx_qepilogue){ p->bias,     p->scale, p->clamp,    p->lut, p->add_scale,
                            p->add_zero, p->ldr,   p->residual, p->act, p->act_params };
}

PCX_HIDDEN pcx_run_fn qdwconv_scalar, qdwconv_avx2;
PCX_HIDDEN pcx_size_fn qdwconv_avx2_scratch, qdwconv_prepared;
PCX_HIDDEN pcx_prepare_fn qdwconv_prepare;

#endif
