"""ireduce: reduces the middle axis of an array of integers."""

import numpy as np

from ._spec import reference

MODES = ("sum", "mean", "max", "min", "prod", "l1", "sumsquare")


@reference(where="mode<7", plain=True)
def ireduce(x: "{i32,u32,i64,u64}xt[outer,r,inner]", mode: "size", out: "{i32,u32,i64,u64}xt[outer,inner]"):
    """Sums and products wrap around; the mean is that sum divided, rounded toward zero.

    Without elements: sum 0, product 1, mean 0; the maximum is the type's minimum and the minimum its maximum.
    """
    limits = np.iinfo(x.dtype)
    with np.errstate(over="ignore"):
        if mode == 2:
            out[:] = x.max(1, initial=limits.min)
        elif mode == 3:
            out[:] = x.min(1, initial=limits.max)
        elif mode == 4:
            out[:] = x.prod(1, dtype=x.dtype)
        elif mode == 5:
            out[:] = abs(x).sum(1, dtype=x.dtype)
        elif mode == 6:
            out[:] = (x * x).sum(1, dtype=x.dtype)
        else:
            out[:] = x.sum(1, dtype=x.dtype)
        if mode == 1 and x.shape[1]:
            quotient = np.abs(out.astype(object)) // x.shape[1]
            out[:] = np.where(out < 0, -quotient, quotient).astype(x.dtype)


def example(rng, outer=2, r=50, inner=3, mode=0, dtype="int32"):
    """Random numbers over the whole range."""
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, (outer, r, inner), dtype, endpoint=True)
    return [x, mode, np.full((outer, inner), 99, dtype)]
