"""qpixels: float images of few channels to uint8 pixels of four bytes, with a border, as qconv reads them fastest."""

import numpy as np

from ._qepilogue import _u8
from ._spec import reference


@reference(where="c<5,top+ih<=oh,left+iw<=ow")
def qpixels(
    x: "f32[b:xb,c:xc,ih:xh,iw:xw]",
    scale: "f32[1]",
    zero: "i32[1]",
    clamp: "i32[2]",
    top: "size",
    left: "size",
    out: "u8[b,oh,ow,4]",
):
    """clamp(round_half_even(x / scale) + zero, clamp[0], clamp[1]); NaN gives clamp[0]. Around it is the zero point.

    Limits and border are clamped to 0..255. The bytes of a pixel beyond its c channels are 0.
    """
    b, c, ih, iw = x.shape
    low, high, border = _u8(clamp[0]), _u8(clamp[1]), _u8(zero[0])
    for i in range(b):
        for oy in range(out.shape[1]):
            for ox in range(out.shape[2]):
                iy, ix = oy - top, ox - left
                for q in range(4):
                    if q >= c:
                        out[i, oy, ox, q] = 0
                    elif 0 <= iy < ih and 0 <= ix < iw:
                        y = np.rint(np.float64(x[i, q, iy, ix] / scale[0])) + zero[0]
                        if not y > low:
                            y = np.float64(low)
                        out[i, oy, ox, q] = np.int64(min(y, np.float64(high)))
                    else:
                        out[i, oy, ox, q] = border


def example(rng, b=1, c=3, ih=9, iw=21, pads=(1, 1, 1, 1), nhwc=False, zero=100):
    """Random values, some of them beyond the limits; pads are top, left, bottom, right."""
    x = rng.standard_normal((b, ih, iw, c) if nhwc else (b, c, ih, iw), np.float32) * np.float32(100)
    top, left, bottom, right = pads
    out = np.zeros((b, ih + top + bottom, iw + left + right, 4), np.uint8)
    x = x.transpose(0, 3, 1, 2) if nhwc else x
    scale = rng.uniform(0.5, 2, 1).astype(np.float32)
    return [x, scale, np.array([zero], np.int32), np.array([3, 250], np.int32), top, left, out]
