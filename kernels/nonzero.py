"""nonzero: the places of true elements."""

import numpy as np

from ._spec import reference


@reference(plain=True)
def nonzero(x: "bool[n]", out: "i64[n]", out_count: "i64[1]"):
    """``out_count`` places in order; the rest of ``out`` is 0."""
    found = np.flatnonzero(x)
    out[:], out_count[0] = 0, found.size
    out[: found.size] = found


def example(rng, n=50, share=0.3):
    """True with probability `share`."""
    return [rng.random(n) < share, np.full(n, 99, np.int64), np.full(1, 99, np.int64)]
