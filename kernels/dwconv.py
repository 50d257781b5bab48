"""dwconv: depthwise convolution of NHWC float32 images; out = act(conv(x, w) + bias + residual)."""

import numpy as np

from ._act import activate
from ._spec import reference
from ._traits import Traits
from .sconv import GEOMETRY


@reference(
    where=f"act<9,c<2147483648,{GEOMETRY}",
    macs="b*oh*ow*kh*kw*c",
    traits=Traits(sums="float", folds=("offset", "factor"), tile="window", layout="nhwc", chw="pdwconv"),
    ahead={"bias": "oh ow"},
)
def dwconv(
    x: "f32[b,ih,iw:ldx,c]",
    w: "f32[kh*kw,c]",
    kh: "size",
    kw: "size",
    sh: "size",
    sw: "size",
    dh: "size",
    dw: "size",
    pt: "size",
    pl: "size",
    bias: "f32[c]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[b*oh*ow:ldr,c]?",
    out: "f32[b,oh,ow:ldo,c]",
):
    """Padding is zero: pt rows above the image, pl columns left of it, as many as needed below and to the right."""
    count, ih, iw, c = x.shape
    _, oh, ow, _ = out.shape
    for i in range(count):
        for oy in range(oh):
            for ox in range(ow):
                for j in range(c):
                    total = np.float32(0)
                    for ky in range(kh):
                        for kx in range(kw):
                            iy, ix = oy * sh + ky * dh - pt, ox * sw + kx * dw - pl
                            if 0 <= iy < ih and 0 <= ix < iw:
                                total += x[i, iy, ix, j] * w[ky * kw + kx, j]
                    if bias is not None:
                        total += bias[j]
                    if residual is not None:
                        total += residual[(i * oh + oy) * ow + ox, j]
                    out[i, oy, ox, j] = activate(total, act, act_params)


def pack(w):
    """Weights f32[c,kh,kw] as dwconv reads them, f32[kh*kw,c]."""
    return np.ascontiguousarray(np.asarray(w, np.float32).reshape(len(w), -1).T)


def example(rng, b, ih, iw, c, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), pads=(1, 1, 1, 1)):
    """Random arguments of the given sizes; pads are top, left, bottom, right."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    oh = (ih + pads[0] + pads[2] - reach[0]) // stride[0] + 1
    ow = (iw + pads[1] + pads[3] - reach[1]) // stride[1] + 1
    x = rng.standard_normal((b, ih, iw, c), np.float32)
    w = pack(rng.standard_normal((c, *kernel), np.float32))
    bias = rng.standard_normal(c, np.float32)
    residual = rng.standard_normal((b * oh * ow, c), np.float32)
    params = np.array([-1, 1], np.float32)
    out = np.full((b, oh, ow, c), np.nan, np.float32)
    return [x, w, *kernel, *stride, *dilation, *pads[:2], bias, 2, params, residual, out]
