"""dequantize: integers to float32, per tensor or per channel."""

import numpy as np

from ._spec import reference


@reference()
def dequantize(
    x: "{u8,i8,i16,u16,i32}xt[outer,c,inner]",
    zero: "i32[c]",
    scale: "f32[c]",
    out: "f32[outer,c,inner]",
):
    """(x - zero) * scale; the difference is an int32."""
    for o in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                out[o, c, i] = np.float32(np.int32(np.int64(x[o, c, i]) - zero[c])) * scale[c]


def example(rng, outer=3, c=1, inner=40, dtype="uint8"):
    """Random integers over the whole range."""
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, (outer, c, inner), dtype, endpoint=True)
    zero = rng.integers(max(info.min, -99), min(info.max, 99), c).astype(np.int32)
    scale = rng.uniform(0.01, 2, c).astype(np.float32)
    return [x, zero, scale, np.full((outer, c, inner), np.nan, np.float32)]
