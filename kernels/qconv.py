"""qconv: convolution of NHWC u8 images with s8 weights, summed exactly in int32.

The products are those of qgemm in the order (ky, kx, channel), with each tap's channels padded
to whole steps of four; int16 sums continue from tap to tap.
"""

from dataclasses import replace

import numpy as np

from ._qepilogue import finish, row
from ._spec import reference
from ._traits import Traits
from .qgemm import epilogue, weights_for
from .qgemm import pack as pack_gemm
from .sconv import GEOMETRY


@reference(
    where=f"act<9,n<2147483648,c<2147483648,kh*kw*c<=65536,{GEOMETRY}",
    macs="b*oh*ow*n*kh*kw*c",
    traits=Traits(sums="integer", weights={"w": "qconv"}, layout="nhwc", accumulation=("step", "panels")),
    ahead={"bias": "oh ow"},
)
def qconv(
    x: "u8[b,ih,iw:ldx,c]",
    xzp: "i32[1]",
    w: "i8[ceil(n/16),kh*kw,ceil(c/4),16,4]",
    kh: "size",
    kw: "size",
    sh: "size",
    sw: "size",
    dh: "size",
    dw: "size",
    pt: "size",
    pl: "size",
    colsum: "i32[n]",
    wzp: "i32[n]?",
    bias: "i32[n]?",
    scale: "f32[n]?",
    clamp: "i32[3]?",
    lut: "u8[256]?",
    add_scale: "f32[2]?",
    add_zero: "i32[5]?",
    residual: "u8[b*oh*ow:ldr,n]?",
    act: "size",
    act_params: "f32[2]",
    prepared: "prepared",
    out: "{u8,i32,f32}ot[b,oh,ow:ldo,n]",
):
    """Padding has the value xzp and so adds nothing."""
    count, ih, iw, c = x.shape
    _, oh, ow, n = out.shape
    zero = np.int64(xzp[0])
    for i in range(count):
        for oy in range(oh):
            for ox in range(ow):
                added = row(residual, (i * oh + oy) * ow + ox)
                for j in range(n):
                    zw = np.int64(0)
                    if wzp is not None:
                        zw = np.int64(wzp[j])
                    total = np.int64(0)
                    for ky in range(kh):
                        for kx in range(kw):
                            iy, ix = oy * sh + ky * dh - pt, ox * sw + kx * dw - pl
                            if 0 <= iy < ih and 0 <= ix < iw:
                                for q in range(c):
                                    a = np.int64(x[i, iy, ix, q]) - zero
                                    total += a * (np.int64(w[j // 16, ky * kw + kx, q // 4, j % 16, q % 4]) - zw)
                    to = out[i, oy, ox]
                    finish(total, j, bias, scale, clamp, lut, add_scale, add_zero, added, act, act_params, to)


def pack(w):
    """Weights int8[n,kh,kw,c] as the panels that qconv reads, with their accumulation depths: see qgemm.Packed."""
    n, kh, kw, c = w.shape
    packed = pack_gemm(w.reshape(n, -1), kh * kw)
    return replace(packed, w=packed.w.reshape(-1, kh * kw, -(-c // 4), 16, 4))


def example(
    rng, b, ih, iw, c, n, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), pads=(1, 1, 1, 1), T=4, zero=77, **tail
):
    """Random arguments of the given sizes; pads are top, left, bottom, right."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    oh = (ih + pads[0] + pads[2] - reach[0]) // stride[0] + 1
    ow = (iw + pads[1] + pads[3] - reach[1]) // stride[1] + 1
    taps = kernel[0] * kernel[1]
    w = pack(weights_for(rng, n, taps * c, T, taps).reshape(n, *kernel, c))
    x = rng.integers(0, 256, (b, ih, iw, c)).astype(np.uint8)
    tail = epilogue(rng, b * oh * ow, n, **tail)
    tail["out"] = tail["out"].reshape(b, oh, ow, n)
    zero = np.array([zero], np.int32)
    return [x, zero, w.w, *kernel, *stride, *dilation, *pads[:2], w.colsum, None, *tail.values()]
