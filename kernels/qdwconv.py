"""qdwconv: each channel of NHWC u8 images with its own s8 weights, summed exactly in int32.

On AVX2 vpmaddubsw multiplies the taps of a channel in pairs, in the order of ``order``, and T consecutive
pairs, a *chunk*, share an int16 lane.  The bounds are those of qgemm: P and N of a pair at most 128; P + N of
a chunk of three or more pairs at most 256.  ``accumulation_depth`` finds the largest T.
"""

from dataclasses import dataclass

import numpy as np

from ._qepilogue import finish, row
from ._spec import reference
from ._traits import Traits
from .qgemm import CHUNK, PAIR, epilogue
from .sconv import GEOMETRY

GROUP = 32  # channels that share an accumulation depth
DEPTHS = (7, 3, 1)  # one chunk of 7 pairs covers 3 x 3 taps, two cover 5 x 5


@reference(
    where=f"act<9,c<2147483648,kh*kw<=65536,{GEOMETRY}",
    macs="b*oh*ow*kh*kw*c",
    traits=Traits(
        sums="integer", weights={"w": "qdwconv"}, tile="window", layout="nhwc", accumulation=("pair", "groups")
    ),
    ahead={"bias": "oh ow"},
)
def qdwconv(
    x: "u8[b,ih,iw:ldx,c]",
    xzp: "i32[1]",
    w: "i8[kh*kw,c]",
    kh: "size",
    kw: "size",
    sh: "size",
    sw: "size",
    dh: "size",
    dw: "size",
    pt: "size",
    pl: "size",
    colsum: "i32[c]",
    wzp: "i32[c]?",
    bias: "i32[c]?",
    scale: "f32[c]?",
    clamp: "i32[3]?",
    lut: "u8[256]?",
    add_scale: "f32[2]?",
    add_zero: "i32[5]?",
    residual: "u8[b*oh*ow:ldr,c]?",
    act: "size",
    act_params: "f32[2]",
    prepared: "prepared",
    out: "{u8,i32,f32}ot[b,oh,ow:ldo,c]",
):
    """Padding has the value xzp and so adds nothing."""
    count, ih, iw, c = x.shape
    _, oh, ow, _ = out.shape
    zero = np.int64(xzp[0])
    for i in range(count):
        for oy in range(oh):
            for ox in range(ow):
                added = row(residual, (i * oh + oy) * ow + ox)
                for j in range(c):
                    zw = np.int64(0)
                    if wzp is not None:
                        zw = np.int64(wzp[j])
                    total = np.int64(0)
                    for ky in range(kh):
                        for kx in range(kw):
                            iy, ix = oy * sh + ky * dh - pt, ox * sw + kx * dw - pl
                            if 0 <= iy < ih and 0 <= ix < iw:
                                total += (np.int64(x[i, iy, ix, j]) - zero) * (np.int64(w[ky * kw + kx, j]) - zw)
                    to = out[i, oy, ox]
                    finish(total, j, bias, scale, clamp, lut, add_scale, add_zero, added, act, act_params, to)


@dataclass(frozen=True)
class Packed:
    """Depthwise weights with their accumulation depths.

    Attributes
    ----------
    w : int8[kh*kw,c]
    colsum : int32[c], the sum of each channel's weights
    T : int array [ceil(c/32)], the accumulation depth, in pairs, that holds for all channels of a group; 0: none.
        The last group ends at c, as in the kernel, and so may overlap the one before.
    """

    w: np.ndarray
    colsum: np.ndarray
    T: np.ndarray


def pack(w):
    """Weights int8[c,kh,kw] as qdwconv reads them."""
    c = len(w)
    flat = w.reshape(c, -1)
    first = [max(min(j, c - GROUP), 0) for j in range(0, c, GROUP)]
    T = np.zeros(len(first), int)
    for t in reversed(DEPTHS):
        ok = fits(flat, t, w.shape[1:])
        T[[bool(ok[j : j + GROUP].all()) for j in first]] = t
    return Packed(np.ascontiguousarray(flat.T), flat.sum(1, dtype=np.int32), T)


def order(kernel):
    """The taps ky * kw + kx in the order in which they are paired.

    Two rows at a time, column by column; a single last row column by column.
    """
    kh, kw = kernel
    at = np.arange(kh * kw).reshape(kh, kw)
    even = kh // 2 * 2
    return np.concatenate([at[:even].reshape(-1, 2, kw).transpose(0, 2, 1).ravel(), at[even:].ravel()])


def int16_sums(kernel, T):
    """The chunk that each of the taps [kh*kw] belongs to."""
    at = np.empty(kernel[0] * kernel[1], int)
    at[order(kernel)] = np.arange(len(at)) // 2 // T
    return at


def fits(w, T, kernel):
    """Whether chunks of T pairs cannot overflow, per channel of weights int8[..., kh*kw]: bool[...]."""
    if T == 0:
        return np.ones(w.shape[:-1], bool)
    total, starts = w.shape[-1], np.arange(0, w.shape[-1], 2)
    if total == 0:
        return np.ones(w.shape[:-1], bool)
    w = w[..., order(kernel)]
    pair = np.add.reduceat(
        w, starts, -1, dtype=np.int16
    )  # a pair of weights of different signs is always within the bound
    ok = (pair.max(-1) <= PAIR) & (pair.min(-1) >= -PAIR)
    if T == 1:
        return ok
    size = np.abs(w).view(np.uint8)
    return ok & (np.add.reduceat(size, starts[::T], -1, dtype=np.uint16).max(-1) <= CHUNK)


def accumulation_depth(w, kernel):
    """The maximum accumulation depth of each channel of weights int8[c,kh*kw]: int[c], one of 0, 1, 3, 7."""
    best = np.zeros(len(w), int)
    for T in reversed(DEPTHS):
        best[fits(w, T, kernel)] = T
    return best


def weights_for(rng, c, kernel, T):
    """Random weights int8[c,kh*kw] of accumulation depth T, mostly close to the bounds; T = 0: any weights."""
    taps = kernel[0] * kernel[1]
    if T == 0:
        return rng.integers(-128, 128, (c, taps)).astype(np.int8)
    size = rng.exponential(1, (c, taps))
    total = np.add.reduceat(size[:, order(kernel)], np.arange(0, taps, 2 * T), 1)
    size = np.minimum(
        size / total[:, int16_sums(kernel, T)] * CHUNK, PAIR // 2
    )  # half, so that any two are within the bound of a pair
    return (size * rng.choice((-1, 1), (c, taps))).astype(np.int8)


def example(rng, b, ih, iw, c, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), pads=(1, 1, 1, 1), T=3, zero=77, **tail):
    """Random arguments of the given sizes; pads are top, left, bottom, right."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    oh = (ih + pads[0] + pads[2] - reach[0]) // stride[0] + 1
    ow = (iw + pads[1] + pads[3] - reach[1]) // stride[1] + 1
    w = pack(weights_for(rng, c, kernel, T).reshape(c, *kernel))
    x = rng.integers(0, 256, (b, ih, iw, c)).astype(np.uint8)
    tail = epilogue(rng, b * oh * ow, c, **tail)
    tail["out"] = tail["out"].reshape(b, oh, ow, c)
    zero = np.array([zero], np.int32)
    return [x, zero, w.w, *kernel, *stride, *dilation, *pads[:2], w.colsum, None, *tail.values()]
