"""permute: a strided copy of bytes, for Transpose, Concat, Slice, Expand and the inside of Pad."""

import numpy as np

from ._spec import reference


@reference()
def permute(
    x: "u8[d0:x0,d1:x1,d2:x2,d3:x3,d4:x4,d5:x5,run]",
    out: "u8[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5,run]",
):
    """Copies x to out; the last dim, dense in both, is the bytes of an element or of several."""
    for i in np.ndindex(out.shape):
        out[i] = x[i]


def example(rng, shape=(2, 3, 5, 7), axes=(0, 2, 3, 1), dtype="float32"):
    """A transpose of random elements."""
    x = rng.integers(0, 255, (*shape, np.dtype(dtype).itemsize), np.uint8)
    x = x.transpose(*axes, len(shape))
    x = x[(None,) * (6 - len(shape))]
    return [x, np.zeros(x.shape, np.uint8)]
