/* pdwconv.h - what the pdwconv files share.  A unit is one channel. */
#ifndef PCX_PDWCONV_H
#define PCX_PDWCONV_H

#include "../common/act.h"

/* The channels [begin, end), output by output. */
static inline void pdwconv_plain(const pcx_pdwconv_args *p, size_t begin, size_t end)
{
    for (size_t c = begin; c < end; c++)
        for (size_t y = 0; y < p->oh; y++)
            for (size_t x = 0; x < p->ow; x++) {
                const float *in = p->x + c * p->ldx, *w = p->w + c * p->kh * p->kw;
                float sum = p->bias ? p->bias[c] : 0;
                for (size_t ky = 0; ky < p->kh; ky++)
                    for (size_t kx = 0; kx < p->kw; kx++, w++) {
                        const size_t iy = y * p->sh + ky - p->pt, ix = x * p->sw + kx - p->pl; /* huge above and left */
                        sum += (iy < p->ih && ix < p->iw ? in[iy * p->iw + ix] : 0) * *w;
                    }
                p->out[c * p->ldo + y * p->ow + x] = act_apply(sum, p->act, p->act_params);
            }
}

PCX_HIDDEN pcx_run_fn pdwconv_avx512_run, pdwconv_avx2_run, pdwconv_neon_run;
PCX_HIDDEN pcx_size_fn pdwconv_avx512_scratch, pdwconv_avx2_scratch, pdwconv_neon_scratch;

#endif
