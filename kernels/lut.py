"""lut: uint8 to uint8 through a table of 256 entries, one for all columns or one for each."""

import numpy as np

from ._spec import reference
from ._traits import Traits


@reference(where="tables>=1", traits=Traits(in_place=("x",)))
def lut(x: "u8[m:ldx,n]", table: "u8[tables,256]", out: "u8[m:ldo,n]"):
    """``tables`` is 1 or n; with any other number the first table is used for all columns."""
    own = table.shape[0] > 1 and table.shape[0] >= x.shape[1]
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = table[j if own else 0, x[i, j]]


def example(rng, m=7, n=33, tables=1):
    """Random arguments."""
    x = rng.integers(0, 255, (m, n), np.uint8, endpoint=True)
    return [x, rng.integers(0, 255, (tables, 256), np.uint8, endpoint=True), np.zeros((m, n), np.uint8)]
