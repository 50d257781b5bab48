"""qpool: the maximum or the mean of each window of an NHWC uint8 image, requantized."""

import numpy as np

from ._qepilogue import _requantize as requantize
from ._spec import reference
from ._traits import Traits
from .pool import output_size, padded


@reference(
    where="mode<3,kh<1048576,kw<1048576,sh>=1,sw>=1,dh>=1,dw>=1,dh<1048576,dw<1048576,ldx>=c*min(b,min(ih,min(iw,1)))",
    traits=Traits(layout="nhwc"),
)
def qpool(
    x: "u8[b,ih,iw:ldx,c]",
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
    xzp: "i32[1]",
    scale: "f32[1]",
    clamp: "i32[3]",
    out: "u8[b,oh,ow:ldo,c]",
):
    """Modes and windows as in `pool`; in mode 2, cells of the pads have the value xzp.

    Mean: clamp(round_half_even(float(sum - count * xzp) * (scale / divisor)) + clamp[0], clamp[1], clamp[2]).
    The maximum uses neither scale nor clamp; without cells it is 0.
    """
    for b in range(out.shape[0]):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                for c in range(out.shape[3]):
                    best, total, inside = 0, 0, 0
                    for ky in range(kh):
                        for kx in range(kw):
                            y, x_ = oy * sh + ky * dh - pt, ox * sw + kx * dw - pl
                            if 0 <= y < x.shape[1] and 0 <= x_ < x.shape[2]:
                                best = max(best, x[b, y, x_, c])
                                total += np.int64(x[b, y, x_, c]) - xzp[0]
                                inside += 1
                    if mode == 0:
                        out[b, oy, ox, c] = best
                    else:
                        if mode == 2:
                            inside = padded(oy * sh, kh, dh, pt + x.shape[1] + pb)
                            inside *= padded(ox * sw, kw, dw, pl + x.shape[2] + pr)
                        step = scale[0] / np.float32(max(inside, 1))
                        v = np.float32(np.int32(total)) * step
                        out[b, oy, ox, c] = requantize(v, clamp[0], clamp[1], clamp[2])


def example(rng, b=2, ih=7, iw=6, c=5, mode=0, k=(3, 2), s=(2, 1), d=(1, 1), pads=(1, 0, 1, 1), o=None):
    """Random arguments; the output's size follows from the geometry unless given."""
    x = rng.integers(0, 255, (b, ih, iw, c), np.uint8, endpoint=True)
    oh, ow = o or output_size(ih, iw, k, s, d, pads)
    quant = [np.array([113], np.int32), np.array([0.9], np.float32), np.array([70, 5, 250], np.int32)]
    return [x, mode, *k, *s, *d, *pads, *quant, np.zeros((b, oh, ow, c), np.uint8)]
