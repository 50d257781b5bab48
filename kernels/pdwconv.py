"""pdwconv: depthwise convolution of one float32 image in planes (CHW); out = act(conv(x, w) + bias + residual)."""

import numpy as np

from ._act import activate
from ._spec import reference
from .sconv import GEOMETRY

ONE_IMAGE = GEOMETRY.replace("b<2147483648,", "")


@reference(where=f"act<9,c<2147483648,{ONE_IMAGE}")
def pdwconv(
    x: "f32[c:ldx,ih,iw]",
    w: "f32[c,kh*kw]",
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
    residual: "f32[c:ldr,oh,ow]?",
    out: "f32[c:ldo,oh,ow]",
):
    """What lies beyond the image is zero; pt rows above it and pl columns left of it are within reach."""
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
                        iy, ix = oy * sh + ky * dh - pt, ox * sw + kx * dw - pl
                        if 0 <= iy < ih and 0 <= ix < iw:
                            total += x[j, iy, ix] * w[j, ky * kw + kx]
                if residual is not None:
                    total += residual[j, oy, ox]
                out[j, oy, ox] = activate(total, act, act_params)


def pack(w):
    """Weights f32[c,kh,kw] as pdwconv reads them, f32[c,kh*kw]."""
    return np.ascontiguousarray(np.asarray(w, np.float32).reshape(len(w), -1))


def example(rng, ih, iw, c, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), pads=(1, 1, 1, 1)):
    """Random arguments of the given sizes; pads are top, left, bottom, right."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    oh = (ih + pads[0] + pads[2] - reach[0]) // stride[0] + 1
    ow = (iw + pads[1] + pads[3] - reach[1]) // stride[1] + 1
    x = rng.standard_normal((c, ih, iw), np.float32)
    w = pack(rng.standard_normal((c, *kernel), np.float32))
    bias = rng.standard_normal(c, np.float32)
    residual = rng.standard_normal((c, oh, ow), np.float32)
    params = np.array([-1, 1], np.float32)
    out = np.full((c, oh, ow), np.nan, np.float32)
    return [x, w, *kernel, *stride, *dilation, *pads[:2], bias, 2, params, residual, out]
