"""compare: elementwise comparison of two arrays of one type."""

import numpy as np

from ._spec import reference
from .binary import broadcast, six

OPS = ("eq", "lt", "le", "gt", "ge", "ne")
TYPES = ("float32", "float64", "uint8", "int32", "uint32", "int64", "uint64")


@reference(where="op<6")
def compare(
    a: "{f32,f64,u8,i32,u32,i64,u64}xt[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5]",
    b: "{f32,f64,u8,i32,u32,i64,u64}xt[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5]",
    op: "size",
    out: "bool[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
):
    """If either operand is NaN, ``ne`` is true and all others are false."""
    for i in np.ndindex(out.shape):
        u, v = a[i], b[i]
        if op == 5:
            out[i] = u != v
        else:
            out[i] = u == v if op == 0 else u < v if op == 1 else u <= v if op == 2 else u > v if op == 3 else u >= v


def example(rng, shape=(2, 3, 4, 5), b_shape=None, op=0, dtype="float32"):
    """Small integers, so that some are equal, and the extremes of the type; b broadcasts from `b_shape` to `shape`."""
    a, b = _numbers(rng, shape, dtype), _numbers(rng, b_shape or shape, dtype)
    return [six(a), six(broadcast(b, shape)), op, six(np.zeros(shape, bool))]


def _numbers(rng, shape, dtype):
    x = rng.integers(0 if dtype[0] == "u" else -2, 3, shape).astype(dtype)
    limits = np.finfo(dtype) if dtype[0] == "f" else np.iinfo(dtype)
    ends = np.array([limits.min, limits.max], dtype)
    return np.where(rng.random(shape) < 0.2, rng.choice(ends, shape), x).astype(dtype)
