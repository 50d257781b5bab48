"""argreduce: where along the middle axis the greatest or least element stands."""

import numpy as np

from ._spec import reference


@reference(where="mode<2,last<2")
def argreduce(x: "{f32,u8,i32,u32,i64,u64}xt[outer,r,inner]", mode: "size", last: "size", out: "i64[outer,inner]"):
    """mode 0 the greatest, 1 the least; of equal ones the first, or the last.

    A NaN that stands first stays the answer, any other counts for nothing, as in onnxruntime.  Of nothing: 0.
    """
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            best = 0
            for q in range(1, x.shape[1]):
                u, v = x[o, q, i], x[o, best, i]
                if (u < v if mode else u > v) or (last and u == v):
                    best = q
            out[o, i] = best


def example(rng, outer=2, r=50, inner=3, least=0, last=0, dtype="float32"):
    """Small whole numbers, so that some are equal."""
    x = rng.integers(0 if dtype[0] == "u" else -4, 5, (outer, r, inner)).astype(dtype)
    return [x, least, last, np.full((outer, inner), 99, np.int64)]
