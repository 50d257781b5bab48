"""fill: writes one element everywhere: constants, the borders of pads."""

import numpy as np

from ._spec import reference


@reference()
def fill(value: "u8[elem]", out: "u8[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5,elem]"):
    """Both are bytes; an element is any number of them."""
    for i in np.ndindex(out.shape[:6]):
        out[i] = value


def example(rng, shape=(2, 3, 5), elem=4):
    """A random element and an array to fill."""
    six = (1,) * (6 - len(shape)) + tuple(shape)
    return [rng.integers(0, 255, elem, np.uint8), np.zeros((*six, elem), np.uint8)]
