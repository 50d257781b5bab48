"""resample: each output along the middle axis is a weighted sum of a few inputs (resizing, one axis at a time)."""

import numpy as np

from ._spec import reference


@reference()
def resample(
    x: "f32[outer,r,inner]",
    index: "i32[m,taps]<r",
    weight: "f32[m,taps]",
    out: "f32[outer,m,inner]",
):
    """out[o,i,j] = sum over t of weight[i,t] * x[o,index[i,t],j], added in order."""
    for o in range(x.shape[0]):
        for i in range(index.shape[0]):
            for j in range(x.shape[2]):
                total = np.float32(0)
                for t in range(index.shape[1]):
                    total += weight[i, t] * x[o, index[i, t], j]
                out[o, i, j] = total


def example(rng, outer=2, r=7, inner=5, m=12, taps=2):
    """Random arguments."""
    x = rng.standard_normal((outer, r, inner), np.float32)
    index = rng.integers(0, max(r, 1), (m, taps)).astype(np.int32)
    return [x, index, rng.random((m, taps), np.float32), np.full((outer, m, inner), np.nan, np.float32)]
