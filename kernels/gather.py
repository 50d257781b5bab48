"""gather: rows of bytes selected by a constant index."""

import numpy as np

from ._spec import reference


@reference()
def gather(x: "u8[outer,rows:ldx,inner]", index: "i32[count]<rows", out: "u8[outer,count,inner]"):
    for o in range(x.shape[0]):
        for i in range(index.shape[0]):
            out[o, i] = x[o, index[i]]


def example(rng, outer=2, rows=7, inner=12, count=5):
    """Random rows, in any order and more than once."""
    x = rng.integers(0, 255, (outer, rows, inner), np.uint8)
    index = rng.integers(0, max(rows, 1), count).astype(np.int32)
    return [x, index, np.zeros((outer, count, inner), np.uint8)]
