"""dynquant: a float32 array to uint8 over its own range: ONNX's DynamicQuantizeLinear."""

import numpy as np

from ._spec import reference


@reference()
def dynquant(x: "f32[n]", out: "u8[n]", out_scale: "f32[1]", out_zero: "i32[1]"):
    """The range includes 0, and is 255 steps; where all of x is 0 the scale is 1.  NaN is taken as the least."""
    low, high = np.float32(0), np.float32(0)
    for i in range(x.shape[0]):
        low = x[i] if x[i] < low else low
        high = x[i] if x[i] > high else high
    scale = (high - low) / np.float32(255) if high - low > 0 else np.float32(1)
    zero = np.int64(np.rint(min(max(-low / scale, np.float32(0)), np.float32(255))))
    for i in range(x.shape[0]):
        y = np.rint(x[i] / scale) + zero
        out[i] = np.uint8(min(y, 255) if y > 0 else 0)
    out_scale[0] = scale
    out_zero[0] = zero


def example(rng, n=1000):
    """Random arguments."""
    x = rng.standard_normal(n, np.float32) * np.float32(3) + np.float32(1)
    return [x, np.zeros(n, np.uint8), np.zeros(1, np.float32), np.zeros(1, np.int32)]
