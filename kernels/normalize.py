"""normalize: converts image bytes to float32, with a scale and a shift per channel."""

import numpy as np

from ._spec import reference


@reference()
def normalize(x: "u8[m,c]", scale: "f32[c]", shift: "f32[c]", out: "f32[m,c]"):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = np.float32(x[i, j]) * scale[j] + shift[j]


def example(rng, m=50, c=3):
    """Random arguments."""
    x = rng.integers(0, 255, (m, c), np.uint8, endpoint=True)
    scale, shift = rng.uniform(0.01, 0.02, c).astype(np.float32), rng.uniform(-2, 0, c).astype(np.float32)
    return [x, scale, shift, np.full((m, c), np.nan, np.float32)]
