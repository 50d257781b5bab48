"""where: elementwise choice between two float32 arrays."""

import numpy as np

from ._spec import reference
from ._traits import Traits
from .binary import broadcast, six


@reference(traits=Traits(in_place=("a", "b")))
def where(
    cond: "bool[d0:c0,d1:c1,d2:c2,d3:c3,d4:c4,d5:c5]",
    a: "f32[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5]",
    b: "f32[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5]",
    out: "f32[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
):
    """a where cond holds, b elsewhere."""
    for i in np.ndindex(out.shape):
        out[i] = a[i] if cond[i] else b[i]


def example(rng, shape=(2, 3, 4, 5), b_shape=None):
    """Random arguments: b broadcasts from `b_shape` to `shape`."""
    a = rng.standard_normal(shape, np.float32)
    b = broadcast(rng.standard_normal(b_shape or shape, np.float32), shape)
    return [six(rng.random(shape) < 0.5), six(a), six(b), six(np.full(shape, np.nan, np.float32))]
