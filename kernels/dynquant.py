"""dynquant: quantizes rows of float32 to uint8, each over its own range; for one row, ONNX's DynamicQuantizeLinear."""

import numpy as np

from ._spec import reference

MIN_RANGE = np.float32(255 * 2.0**-126)


@reference()
def dynquant(x: "f32[m:ldx,k]", out: "u8[m:ldo,k]", out_scale: "f32[m]", out_zero: "i32[m]"):
    """The range includes 0 and has 255 steps.  If a step would be subnormal, the row counts as zeros and the scale is 1.
    NaN gives the lowest code."""
    for i in range(x.shape[0]):
        low, high = np.float32(0), np.float32(0)
        for j in range(x.shape[1]):
            low = x[i, j] if x[i, j] < low else low
            high = x[i, j] if x[i, j] > high else high
        scale = (high - low) / np.float32(255) if high - low > MIN_RANGE else np.float32(1)
        zero = np.int64(np.rint(min(max(-low / scale, np.float32(0)), np.float32(255))))
        for j in range(x.shape[1]):
            y = np.rint(x[i, j] / scale) + zero
            out[i, j] = np.uint8(min(y, 255) if y > 0 else 0)
        out_scale[i] = scale
        out_zero[i] = zero


def example(rng, m=3, k=1000):
    """Random arguments of the given sizes."""
    x = rng.standard_normal((m, k), np.float32) * np.float32(3) + np.float32(1)
    return [x, np.zeros((m, k), np.uint8), np.zeros(m, np.float32), np.zeros(m, np.int32)]
