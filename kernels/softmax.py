"""softmax: softmax or log-softmax along the middle axis of a float32 array."""

import numpy as np

from ._spec import reference


@reference()
def softmax(x: "f32[outer,r,inner]", log: "size", out: "f32[outer,r,inner]"):
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            top, total = -np.inf, 0.0
            for q in range(x.shape[1]):
                top = max(top, np.float64(x[o, q, i]))
            for q in range(x.shape[1]):
                total += np.exp(x[o, q, i] - top)
            for q in range(x.shape[1]):
                shifted = x[o, q, i] - top
                out[o, q, i] = shifted - np.log(total) if log else np.exp(shifted) / total


def example(rng, outer=2, r=50, inner=1, log=0):
    """Random logits."""
    x = rng.standard_normal((outer, r, inner), np.float32) * np.float32(4)
    return [x, log, np.full((outer, r, inner), np.nan, np.float32)]
