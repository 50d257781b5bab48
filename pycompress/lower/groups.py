"""Groups of a convolution that have few outputs: several are computed as one, whose other weights are zero.

In float, an input that is not finite then makes NaN of all outputs of these groups at its place, not of its own group's alone.
"""

from __future__ import annotations

import numpy as np

LANES = 16  # outputs that kernels compute together, wanted or not
FLOAT, INTEGER = 4, 8  # the outputs of a group up to which this is faster: float kernels have narrow panels


def together(size: int, groups: int, most: int = FLOAT) -> int:
    """How many of `groups` of `size` outputs are one convolution, if they have at most `most`."""
    return next(d for d in range(LANES // size, 0, -1) if groups % d == 0) if size <= most else 1


def diagonal(w: np.ndarray, groups: int) -> np.ndarray:
    """Weights [outputs,kh,kw,c] of `groups`, one after the other, as [outputs,kh,kw,groups * c]."""
    if groups == 1:
        return w
    n, kh, kw, c = w.shape
    whole = np.zeros((groups, n // groups, kh, kw, groups, c), w.dtype)
    for g, part in enumerate(w.reshape(groups, n // groups, kh, kw, c)):
        whole[g, ..., g, :] = part
    return whole.reshape(n, kh, kw, groups * c)
