"""qbinary: sum or product of two uint8 tensors, each with its scale and zero point, requantized."""

import numpy as np

from ._qepilogue import _requantize as requantize
from ._spec import reference
from ._traits import Traits
from .binary import broadcast, six

OPS = ("add", "mul")


@reference(where="op<2", traits=Traits(in_place=("a", "b")))
def qbinary(
    a: "u8[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5]",
    b: "u8[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5]",
    op: "size",
    zero: "i32[5]",
    scale: "f32[2]",
    out: "u8[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
):
    """``zero`` contains the zero points of a, b and out, and the minimum and maximum of the result.

    add: round_half_even((a - za) * scale[0] + (b - zb) * scale[1]) + zo, as the residual of an epilogue;
    mul: round_half_even(float((a - za) * (b - zb)) * scale[0]) + zo; then clamped.
    """
    for i in np.ndindex(out.shape):
        u, v = np.int32(np.int64(a[i]) - zero[0]), np.int32(np.int64(b[i]) - zero[1])
        if op == 0:
            y = np.float32(u) * scale[0] + np.float32(v) * scale[1]
        else:
            y = np.float32(np.int32(np.int64(u) * v)) * scale[0]
        out[i] = requantize(y, zero[2], zero[3], zero[4])


def example(rng, shape=(2, 3, 4, 5), b_shape=None, op=0):
    """Random arguments: b broadcasts from `b_shape` to `shape`."""
    a = rng.integers(0, 255, shape, np.uint8, endpoint=True)
    b = broadcast(rng.integers(0, 255, b_shape or shape, np.uint8, endpoint=True), shape)
    zero = np.array([120, 7, 100, 3, 251], np.int32)
    scale = np.array([0.013, 0.4], np.float32) if op else np.array([0.37, 0.4], np.float32)
    return [six(a), six(b), op, zero, scale, six(np.zeros(shape, np.uint8))]
