"""layernorm: normalizes each row to mean 0 and variance 1, or (rms) to mean square 1."""

import numpy as np

from ._spec import reference


@reference()
def layernorm(
    x: "f32[m,n]",
    scale: "f32[n]?",
    bias: "f32[n]?",
    epsilon: "f32[1]",
    rms: "size",
    out: "f32[m,n]",
):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; with rms the mean is not subtracted."""
    for i in range(x.shape[0]):
        mean, square = 0.0, 0.0
        if not rms:
            for j in range(x.shape[1]):
                mean += x[i, j] / np.float64(x.shape[1])
        for j in range(x.shape[1]):
            square += (x[i, j] - mean) ** 2
        deviation = np.sqrt(square / x.shape[1] + epsilon[0])
        for j in range(x.shape[1]):
            y = (x[i, j] - mean) / deviation
            if scale is not None:
                y *= scale[j]
            if bias is not None:
                y += bias[j]
            out[i, j] = y


def example(rng, m=5, n=70, rms=0):
    """Random arguments."""
    x = rng.standard_normal((m, n), np.float32) + np.float32(3)
    scale, bias = rng.standard_normal((2, n), np.float32)
    return [x, scale, bias, np.array([1e-5], np.float32), rms, np.full((m, n), np.nan, np.float32)]
