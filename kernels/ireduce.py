"""ireduce: reduces the middle axis of an array of integers or doubles."""

import numpy as np

from ._spec import reference

MODES = ("sum", "mean", "max", "min", "prod", "l1", "sumsquare")


@reference(where="mode<7", plain=True)
def ireduce(x: "{f64,i32,u32,i64,u64}xt[outer,r,inner]", mode: "size", out: "{f64,i32,u32,i64,u64}xt[outer,inner]"):
    """Sums and products wrap around; the mean is that sum divided, rounded toward zero.

    Without elements: sum 0, product 1, mean 0; the maximum is the type's minimum and the minimum its maximum.  Doubles are
    summed in order; a NaN is the maximum and the minimum, and the mean of none.
    """
    if x.dtype == np.float64:
        out[:] = _of_doubles(x, mode)
        return
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


def _of_doubles(x, mode):
    with np.errstate(all="ignore"):
        if mode in (2, 3):
            return x.max(1, initial=-np.inf) if mode == 2 else x.min(1, initial=np.inf)
        if mode == 4:
            return x.prod(1)
        total = (abs(x) if mode == 5 else x * x if mode == 6 else x).sum(1)
        return total / x.shape[1] if mode == 1 else total


def example(rng, outer=2, r=50, inner=3, mode=0, dtype="int32"):
    """Random numbers; integers over the whole range."""
    if dtype == "float64":
        x = rng.standard_normal((outer, r, inner))
    else:
        x = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (outer, r, inner), dtype, endpoint=True)
    return [x, mode, np.full((outer, inner), 99, dtype)]
