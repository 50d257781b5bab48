"""lookup: rows of bytes selected by a run-time index."""

import numpy as np

from ._spec import reference


@reference()
def lookup(x: "u8[outer,rows:ldx,inner]", index: "{i32,i64}it[count]", out: "u8[outer,count,inner]", fault: "fault"):
    """Indices in [-rows, 0) count from the end.  Other indices outside [0, rows) give bytes of 255: NaN, or -1; in a plan the
    run fails."""
    for o in range(x.shape[0]):
        for i in range(index.shape[0]):
            row = index[i] + x.shape[1] if index[i] < 0 else index[i]
            if 0 <= row < x.shape[1]:
                out[o, i] = x[o, row]
            else:
                out[o, i] = 255


def example(rng, outer=2, rows=7, inner=12, count=20, dtype="int64"):
    """Random rows, counted from both ends, and indices outside."""
    x = rng.integers(0, 255, (outer, rows, inner), np.uint8)
    limits = np.iinfo(dtype)
    index = rng.integers(-rows, max(rows, 1), count).astype(dtype)
    outside = np.array([limits.min, limits.max, rows, -rows - 1], dtype)[: count // 2]
    index[: outside.size] = outside
    return [x, index, np.zeros((outer, count, inner), np.uint8)]
