"""pdwconv: depthwise convolution of one float32 image in CHW; out = act(bias + conv(x, w))."""

import numpy as np

from ._act import activate
from ._spec import reference
from ._traits import Traits

BOUNDS = ",".join(f"{size}<2147483648" for size in "c ih iw oh ow kh kw sh sw pt pl".split())


@reference(
    where=f"act<9,kh>=1,kw>=1,sh>=1,sw>=1,{BOUNDS}",
    macs="c*oh*ow*kh*kw",
    traits=Traits(sums="float", tile="window", layout="chw"),
)
def pdwconv(
    x: "f32[c:ldx,ih,iw]",
    w: "f32[c,kh*kw]",
    kh: "size",
    kw: "size",
    sh: "size",
    sw: "size",
    pt: "size",
    pl: "size",
    bias: "f32[c]?",
    act: "size",
    act_params: "f32[2]",
    out: "f32[c:ldo,oh,ow]",
):
    """Padding is zero, and zeros are multiplied, too; there are pt rows above the image and pl columns left of it."""
    c, ih, iw = x.shape
    _, oh, ow = out.shape
    for j in range(c):
        for oy in range(oh):
            for ox in range(ow):
                total = np.float32(0)
                if bias is not None:
                    total += bias[j]
                for ky in range(kh):
                    for kx in range(kw):
                        iy, ix = oy * sh + ky - pt, ox * sw + kx - pl
                        inside = 0 <= iy < ih and 0 <= ix < iw
                        total += (x[j, iy, ix] if inside else np.float32(0)) * w[j, ky * kw + kx]
                out[j, oy, ox] = activate(total, act, act_params)


def pack(w):
    """Weights f32[c,kh,kw] as pdwconv reads them, f32[c,kh*kw]."""
    return np.ascontiguousarray(np.asarray(w, np.float32).reshape(len(w), np.prod(w.shape[1:], dtype=int)))


def example(rng, ih, iw, c, kernel=(3, 3), stride=(1, 1), pads=(1, 1, 1, 1), gap=5):
    """Random arguments of the given sizes, with gaps of `gap` floats between channels; pads are top, left, bottom, right."""
    oh, ow = ((n + a + b - k) // s + 1 for n, a, b, k, s in zip((ih, iw), pads[:2], pads[2:], kernel, stride))
    x = rng.standard_normal((c, ih * iw + gap), np.float32)[:, : ih * iw].reshape(c, ih, iw, copy=False)
    w = pack(rng.standard_normal((c, *kernel), np.float32))
    out = np.full((c, oh * ow + gap), np.nan, np.float32)[:, : oh * ow].reshape(c, oh, ow, copy=False)
    return [
        x,
        w,
        *kernel,
        *stride,
        *pads[:2],
        rng.standard_normal(c, np.float32),
        2,
        np.array([-1, 1], np.float32),
        out,
    ]
