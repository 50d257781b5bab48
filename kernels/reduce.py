"""reduce: reduces the middle axis of a float32 array."""

import numpy as np

from ._spec import helper, reference

MODES = ("sum", "mean", "max", "min", "prod", "l1", "l2", "sumsquare", "logsum", "logsumexp")


@reference(where="mode<10")
def reduce(x: "f32[outer,r,inner]", mode: "size", out: "f32[outer,inner]"):
    """Computed in float64 here.  Without elements the sum is 0 and the maximum -inf.  Any NaN gives NaN."""
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            top = -np.inf
            for q in range(x.shape[1]):
                top = top if np.isnan(top) or top >= x[o, q, i] else np.float64(x[o, q, i])
            shift = top if np.isfinite(top) else 0.0
            total = np.inf if mode == 3 else 1.0 if mode == 4 else 0.0
            for q in range(x.shape[1]):
                total = join(total, np.float64(x[o, q, i]), mode, shift)
            if mode == 2:
                total = top
            elif mode == 1:
                total /= x.shape[1]
            elif mode == 6:
                total = np.sqrt(total)
            elif mode == 8:
                total = np.log(total)
            elif mode == 9:
                total = np.log(total) + shift if top == shift else top
            out[o, i] = total


@helper
def join(total, x, mode, shift):
    """Combine `total` with one more element."""
    if mode == 3:
        return total if np.isnan(total) or total <= x else x
    if mode == 4:
        return total * x
    if mode == 5:
        return total + abs(x)
    if mode == 6 or mode == 7:
        return total + x * x
    if mode == 9:
        return total + np.exp(x - shift)
    return total + x


def example(rng, outer=2, r=50, inner=3, mode=1):
    """Random arguments; positive ones for the logarithm of the sum."""
    x = rng.standard_normal((outer, r, inner), np.float32)
    x = abs(x) if mode == 8 else x
    return [x, mode, np.full((outer, inner), np.nan, np.float32)]
