"""quantize: float32 to integers, per tensor or per channel, dividing by the scale as ONNX does."""

import numpy as np

from ._spec import reference


@reference()
def quantize(
    x: "f32[outer,c,inner]",
    scale: "f32[c]",
    zero: "i32[c]",
    clamp: "i32[2]",
    out: "{u8,i8,i16,u16,i32}ot[outer,c,inner]",
):
    """clamp(round_half_even(x / scale) + zero, clamp[0], clamp[1]); NaN gives clamp[0].

    The limits must lie in the output's type.
    """
    for o in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                y = np.rint(np.float64(x[o, c, i] / scale[c])) + zero[c]
                if not y > clamp[0]:
                    y = np.float64(clamp[0])
                out[o, c, i] = np.int64(min(y, np.float64(clamp[1])))


def example(rng, outer=3, c=1, inner=40, dtype="uint8"):
    """Random values, some of them beyond the limits."""
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max)
    x = rng.standard_normal((outer, c, inner), np.float32) * np.float32(min(high, 1 << 20) / 3)
    scale = rng.uniform(0.5, 2, c).astype(np.float32)
    zero = rng.integers(max(low, -99), min(high, 99), c).astype(np.int32)
    return [x, scale, zero, np.array([low, high], np.int32), np.zeros((outer, c, inner), dtype)]
