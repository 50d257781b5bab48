"""pool: the maximum or the mean of each window of an NHWC image, float32."""

import numpy as np

from ._spec import helper, reference
from ._traits import Traits

MODES = ("max", "average", "average_padded")


@reference(
    where="mode<3,kh<1048576,kw<1048576,sh>=1,sw>=1,dh>=1,dw>=1,dh<1048576,dw<1048576,ldx>=c*min(b,min(ih,min(iw,1)))",
    traits=Traits(layout="nhwc"),
)
def pool(
    x: "f32[b,ih,iw:ldx,c]",
    mode: "size",
    kh: "size",
    kw: "size",
    sh: "size",
    sw: "size",
    dh: "size",
    dw: "size",
    pt: "size",
    pl: "size",
    pb: "size",
    pr: "size",
    out: "f32[b,oh,ow:ldo,c]",
):
    """Mode 0: maximum; 1: sum over the number of cells inside the image; 2: sum over the number inside image and pads.

    The maximum of a window with a NaN is NaN.  A window without cells gives -inf or 0.  With ceil_mode a window may
    extend beyond the pads; cells there never count.
    """
    for b in range(out.shape[0]):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                for c in range(out.shape[3]):
                    best, total, inside = np.float32(-np.inf), 0.0, 0
                    for ky in range(kh):
                        for kx in range(kw):
                            y, x_ = oy * sh + ky * dh - pt, ox * sw + kx * dw - pl
                            if 0 <= y < x.shape[1] and 0 <= x_ < x.shape[2]:
                                best = greater(x[b, y, x_, c], best)
                                total += x[b, y, x_, c]
                                inside += 1
                    if mode == 0:
                        out[b, oy, ox, c] = best
                    else:
                        if mode == 2:
                            inside = padded(oy * sh, kh, dh, pt + x.shape[1] + pb)
                            inside *= padded(ox * sw, kw, dw, pl + x.shape[2] + pr)
                        out[b, oy, ox, c] = total / inside if inside else 0.0


@helper
def greater(x, than):
    """The maximum of two numbers; NaN if either is NaN."""
    return x if x > than or x != x else than


@helper
def padded(start, k, d, extent):
    """How many of `k` taps at start, start + d, ... lie below `extent`."""
    count = 0
    for i in range(k):
        count += start + i * d < extent
    return count


def example(rng, b=2, ih=7, iw=6, c=5, mode=0, k=(3, 2), s=(2, 1), d=(1, 1), pads=(1, 0, 1, 1), o=None):
    """Random arguments; the output's size follows from the geometry unless given."""
    x = rng.standard_normal((b, ih, iw, c), np.float32)
    oh, ow = o or output_size(ih, iw, k, s, d, pads)
    return [x, mode, *k, *s, *d, *pads, np.full((b, oh, ow, c), np.nan, np.float32)]


def output_size(ih, iw, k, s, d, pads):
    """The numbers of rows and columns of windows that fit (pads: top, left, bottom, right)."""
    oh = (ih + pads[0] + pads[2] - (k[0] - 1) * d[0] - 1) // s[0] + 1
    ow = (iw + pads[1] + pads[3] - (k[1] - 1) * d[1] - 1) // s[1] + 1
    return max(oh, 0), max(ow, 0)
