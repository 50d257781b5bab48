"""qrecurrent: the time steps of an LSTM whose state is quantized in every step and multiplied on integers."""

from dataclasses import dataclass

import numpy as np

from . import recurrent as floats
from ._spec import helper, reference
from ._traits import Traits
from .dynquant import MIN_RANGE
from .recurrent import lstm_cell


@helper
def quantized(h, codes):
    """Quantize a state over its own range as dynquant does: codes are written; returns scale and zero point."""
    low, high = np.float32(0), np.float32(0)
    for j in range(len(h)):
        x = np.float32(h[j])
        low, high = min(low, x), max(high, x)
    scale = (high - low) / np.float32(255) if high - low > MIN_RANGE else np.float32(1)
    zero = np.int64(np.rint(min(max(-low / scale, np.float32(0)), np.float32(255))))
    for j in range(len(h)):
        y = np.rint(np.float32(h[j]) / scale) + zero
        codes[j] = min(y, 255) if y > 0 else 0
    return scale, zero


@reference(
    where="d<3,backward<4,t<2147483648,b<2147483648,h<=65536",
    macs="t*b*d*4*h*h",
    traits=Traits(weights={"w": "qrecurrent"}),
)
def qrecurrent(
    coupled: "size",
    backward: "size",
    x: "f32[t:xt,b:xb,d*4*h]",
    w: "i8[d*4,ceil(h/16),ceil(h/4),16,4]",
    colsum: "i32[d*4,ceil(h/16)*16]",
    wzp: "i32[d*4,ceil(h/16)*16]?",
    scale: "f32[d*4,h]",
    peepholes: "f32[d,3,h]?",
    lengths: "i32[b]?",
    h0: "f32[d,b,h]?",
    c0: "f32[d,b,h]?",
    acts: "i32[d,3]<11",
    act_params: "f32[d,3,2]",
    clip: "f32[1]",
    prepared: "prepared",
    out: "f32[t:ot,d:od,b:ob,h]",
    out_h: "f32[d,b,h]",
    out_c: "f32[d,b,h]",
):
    """As recurrent with four gates; each row's state is quantized to uint8 over its range, and its product is exact.

    colsum has the sums of the weights of each column, wzp their zero points, scale what one of them is worth.
    """
    steps, rows, size = x.shape[0], x.shape[1], out_h.shape[2]
    codes = np.zeros(size, np.int64)
    for k in range(out_h.shape[0]):
        holes = peepholes[k].astype(np.float64) if peepholes is not None else np.zeros((3, size))
        for r in range(rows):
            count = np.int64(lengths[r]) if lengths is not None else steps
            h = h0[k, r].astype(np.float64) if h0 is not None else np.zeros(size)
            c = c0[k, r].astype(np.float64) if c0 is not None else np.zeros(size)
            if count < 0 or count > steps:
                count = 0
                h[:], c[:] = np.nan, np.nan
            for s in range(count, steps):
                out[s, k, r] = h * 0
            for s in range(count):
                at = count - 1 - s if backward >> k & 1 else s
                step, zero = quantized(h, codes)
                sums = np.empty((4, size))
                for i in range(4):
                    for j in range(size):
                        total, zw = np.int64(0), np.int64(0)
                        if wzp is not None:
                            zw = np.int64(wzp[k * 4 + i, j])
                        for q in range(size):
                            total += (codes[q] - zero) * (w[k * 4 + i, j // 16, q // 4, j % 16, q % 4] - zw)
                        sums[i, j] = total * np.float64(step * scale[k * 4 + i, j])
                now = x[at, r, k * 4 * size : (k + 1) * 4 * size].astype(np.float64)
                h = lstm_cell(now, sums, holes, c, acts[k], act_params[k], clip[0], coupled)
                out[at, k, r] = h
            out_h[k, r] = h
            out_c[k, r] = c


@dataclass(frozen=True)
class Packed:
    """int8[d*4,ceil(h/16),ceil(h/4),16,4], each gate in panels of qgemm, and int32[d*4,ceil(h/16)*16], sums of the columns."""

    w: np.ndarray
    colsum: np.ndarray


def pack(w):
    """The weights of the state int8[d * 4 * h, h], gate by gate."""
    n, h = w.shape
    gates, panels, steps = n // max(h, 1), -(-h // 16), -(-h // 4)
    full = np.zeros((gates, panels * 16, steps * 4), np.int8)
    full[:, :h, :h] = w.reshape(gates, h, h)
    packed = full.reshape(gates, panels, 16, steps, 4).transpose(0, 1, 3, 2, 4)
    return Packed(np.ascontiguousarray(packed), full.sum(2, dtype=np.int32))


def example(rng, t=4, b=2, h=16, d=1, backward=0):
    """Random arguments with the operator's default activations."""
    _, _, coupled, _, x, _, _, holes, lengths, h0, c0, *rest = floats.example(rng, 4, t, b, h, d, backward)
    packed = pack(rng.integers(-128, 128, (d * 4 * h, h)).astype(np.int8))
    wzp = np.zeros_like(packed.colsum)
    wzp[:, :h] = rng.integers(-9, 9, (d * 4, h))
    scale = rng.random((d * 4, h), np.float32) / np.float32(128 * max(h, 1) ** 0.5)
    return [
        coupled,
        backward,
        x,
        packed.w,
        packed.colsum,
        wzp,
        scale,
        holes,
        lengths,
        h0,
        c0,
        *rest[:3],
        None,
        *rest[3:],
    ]
