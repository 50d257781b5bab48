"""lrn: local response normalization across channels, float32."""

import numpy as np

from ._spec import reference


@reference(where="size>=1")
def lrn(x: "f32[m,c]", size: "size", params: "f32[3]", out: "f32[m,c]"):
    """x / (bias + alpha / size * s) ** beta, params (alpha, beta, bias); out must not overlap x.

    s: the sum of squares over (size - 1) // 2 channels before, the channel, and size // 2 after.
    """
    m, c = x.shape
    for i in range(m):
        for j in range(c):
            total = 0.0
            for q in range(max(j - (size - 1) // 2, 0), min(j + size // 2, c - 1) + 1):
                total += np.float64(x[i, q]) ** 2
            out[i, j] = x[i, j] / (params[2] + np.float64(params[0]) / size * total) ** params[1]


def example(rng, m=5, c=20, size=5):
    """Random arguments."""
    x = rng.standard_normal((m, c), np.float32)
    return [x, size, np.array([0.3, 0.75, 1.5], np.float32), np.full((m, c), np.nan, np.float32)]
