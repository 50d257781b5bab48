"""binary: out = act(a op b), float32, elementwise over six strided dims (stride 0 broadcasts)."""

import numpy as np

from ._act import activate
from ._spec import helper, reference
from ._traits import Traits

OPS = ("add", "sub", "mul", "div", "pow", "min", "max", "prelu", "mod")


@reference(where="op<9,act<9", traits=Traits(in_place=("a", "b")))
def binary(
    a: "f32[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5]",
    b: "f32[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5]",
    op: "size",
    act: "size",
    act_params: "f32[2]",
    out: "f32[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
):
    """``mod`` is C's fmod; ``min`` and ``max`` give NaN if either operand is NaN."""
    for i in np.ndindex(out.shape):
        out[i] = activate(np.float32(combine(a[i], b[i], op)), act, act_params)


@helper
def combine(a, b, op):
    if op == 0:
        return a + b
    if op == 1:
        return a - b
    if op == 2:
        return a * b
    if op == 3:
        return a / b
    if op == 4:
        return a**b
    if op == 5:
        return a if a < b or a != a else b
    if op == 6:
        return a if a > b or a != a else b
    if op == 7:
        return a * b if a < 0 else a
    return np.fmod(a, b)


def six(x):
    """`x` as six dims, ones in front."""
    return x.reshape((1,) * (6 - x.ndim) + x.shape)


def broadcast(x, shape):
    """A view of `x` broadcast to `shape`; repeated dimensions have stride 0."""
    view = np.broadcast_to(x, shape)
    return np.lib.stride_tricks.as_strided(x, view.shape, view.strides)


def example(rng, shape=(2, 3, 4, 5), b_shape=None, op=0, act=0):
    """Random arguments: b broadcasts from `b_shape` to `shape`."""
    a = rng.standard_normal(shape, np.float32)
    b = broadcast(rng.standard_normal(b_shape or shape, np.float32), shape)
    return [six(a), six(b), op, act, np.array([-0.5, 0.5], np.float32), six(np.full(shape, np.nan, np.float32))]
