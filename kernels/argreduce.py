"""argreduce: the position of the maximum or minimum along the middle axis."""

import numpy as np

from ._spec import reference


@reference(where="mode<2,last<2")
def argreduce(x: "{f32,f64,u8,i32,u32,i64,u64}xt[outer,r,inner]", mode: "size", last: "size", out: "i64[outer,inner]"):
    """mode 0: maximum, 1: minimum; of equal elements the first, or the last.

    As in onnxruntime, a NaN is the result if it comes first, and is ignored otherwise.  Without elements: 0.
    """
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            best = 0
            for q in range(1, x.shape[1]):
                u, v = x[o, q, i], x[o, best, i]
                if (u < v if mode else u > v) or (last and u == v):
                    best = q
            out[o, i] = best


def example(rng, outer=2, r=50, inner=3, mode=0, last=0, dtype="float32"):
    """Small integers, so that some are equal."""
    x = rng.integers(0 if dtype[0] == "u" else -4, 5, (outer, r, inner)).astype(dtype)
    return [x, mode, last, np.full((outer, inner), 99, np.int64)]
