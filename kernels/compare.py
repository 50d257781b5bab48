"""compare: elementwise comparison of two float32 arrays."""

import numpy as np

from ._spec import reference
from .binary import broadcast, six

OPS = ("eq", "lt", "le", "gt", "ge")


@reference(where="op<5")
def compare(
    a: "f32[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5]",
    b: "f32[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5]",
    op: "size",
    out: "bool[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
):
    """False where either side is NaN."""
    for i in np.ndindex(out.shape):
        u, v = a[i], b[i]
        out[i] = u == v if op == 0 else u < v if op == 1 else u <= v if op == 2 else u > v if op == 3 else u >= v


def example(rng, shape=(2, 3, 4, 5), b_shape=None, op=0):
    """Small whole numbers, so that some are equal: b broadcasts from `b_shape` to `shape`."""
    a = rng.integers(-2, 3, shape).astype(np.float32)
    b = broadcast(rng.integers(-2, 3, b_shape or shape).astype(np.float32), shape)
    return [six(a), six(b), op, six(np.zeros(shape, bool))]
