"""where: elementwise choice between two arrays of elements of 1, 2, 4 or 8 bytes."""

import numpy as np

from ._spec import reference
from ._traits import Traits
from .binary import broadcast, six

TYPES = ("uint8", "uint16", "uint32", "uint64")


@reference(traits=Traits(in_place=("a", "b")))
def where(
    cond: "bool[d0:c0,d1:c1,d2:c2,d3:c3,d4:c4,d5:c5]",
    a: "{u8,u16,u32,u64}xt[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5]",
    b: "{u8,u16,u32,u64}xt[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5]",
    out: "{u8,u16,u32,u64}xt[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
):
    """a where cond is true, b elsewhere; copies bits."""
    for i in np.ndindex(out.shape):
        out[i] = a[i] if cond[i] else b[i]


def example(rng, shape=(2, 3, 4, 5), b_shape=None, dtype="uint32"):
    """Random arguments: b broadcasts from `b_shape` to `shape`."""
    top = np.iinfo(dtype).max
    a = rng.integers(0, top, shape, dtype, endpoint=True)
    b = broadcast(rng.integers(0, top, b_shape or shape, dtype, endpoint=True), shape)
    return [six(rng.random(shape) < 0.5), six(a), six(b), six(np.zeros(shape, dtype))]
