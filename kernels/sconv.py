"""sconv: convolution of NHWC float32 images; out = act(conv(x, w) + bias + residual)."""

import numpy as np

from ._act import activate
from ._spec import reference
from ._traits import Traits
from .sgemm import pack as pack_gemm

GEOMETRY = "kh>=1,kw>=1,sh>=1,sw>=1,dh>=1,dw>=1," + ",".join(
    f"{size}<2147483648" for size in "b ih iw oh ow kh kw sh sw dh dw pt pl".split()
)


@reference(
    where=f"act<9,n<2147483648,c<2147483648,{GEOMETRY}",
    macs="b*oh*ow*n*kh*kw*c",
    traits=Traits(
        sums="float",
        weights={"w": "sgemm"},
        folds=("offset", "factor"),
        tile="convolution",
        layout="nhwc",
        bfloat16="bconv",
    ),
    ahead={"bias": "oh ow"},
)
def sconv(
    x: "f32[b,ih,iw:ldx,c]",
    w: "f32[ceil(n/16):ldw,kh*kw*c,16]",
    kh: "size",
    kw: "size",
    sh: "size",
    sw: "size",
    dh: "size",
    dw: "size",
    pt: "size",
    pl: "size",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[b*oh*ow:ldr,n]?",
    out: "f32[b,oh,ow:ldo,n]",
):
    """Padding is zero: pt rows above the image, pl columns left of it, as many as needed below and to the right.

    Sums are float64 here; kernels sum as sgemm does, with its error for k = kh kw c.
    """
    count, ih, iw, c = x.shape
    _, oh, ow, n = out.shape
    for i in range(count):
        for oy in range(oh):
            for ox in range(ow):
                for j in range(n):
                    total = 0.0
                    for ky in range(kh):
                        for kx in range(kw):
                            iy, ix = oy * sh + ky * dh - pt, ox * sw + kx * dw - pl
                            if 0 <= iy < ih and 0 <= ix < iw:
                                for q in range(c):
                                    total += np.float64(x[i, iy, ix, q]) * w[j // 16, (ky * kw + kx) * c + q, j % 16]
                    if bias is not None:
                        total += bias[j]
                    if residual is not None:
                        total += residual[(i * oh + oy) * ow + ox, j]
                    out[i, oy, ox, j] = activate(np.float32(total), act, act_params)


def pack(w):
    """Weights f32[n,kh,kw,c] as the panels that sconv reads, f32[ceil(n/16),kh*kw*c,16], zero padded."""
    return pack_gemm(w.reshape(len(w), -1))


def example(rng, b, ih, iw, c, n, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), pads=(1, 1, 1, 1)):
    """Random arguments of the given sizes; pads are top, left, bottom, right."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    oh = (ih + pads[0] + pads[2] - reach[0]) // stride[0] + 1
    ow = (iw + pads[1] + pads[3] - reach[1]) // stride[1] + 1
    x = rng.standard_normal((b, ih, iw, c), np.float32)
    w = pack(rng.standard_normal((n, *kernel, c), np.float32))
    bias = rng.standard_normal(n, np.float32)
    residual = rng.standard_normal((b * oh * ow, n), np.float32)
    params = np.array([-1, 1], np.float32)
    out = np.full((b, oh, ow, n), np.nan, np.float32)
    return [x, w, *kernel, *stride, *dilation, *pads[:2], bias, 2, params, residual, out]
