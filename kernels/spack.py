"""spack: packs run-time float32 weights into the panels of sgemm and sconv."""

import numpy as np

from ._spec import reference


@reference()
def spack(x: "f32[n:xn,k:xk]", out: "f32[ceil(n/16),k,16]"):
    """``kernels.sgemm.pack`` as a kernel; columns past n are zero."""
    for panel in range(out.shape[0]):
        for q in range(out.shape[1]):
            for j in range(16):
                n = panel * 16 + j
                out[panel, q, j] = x[n, q] if n < x.shape[0] else np.float32(0)


def example(rng, n=37, k=9):
    """Random weights."""
    return [rng.standard_normal((n, k), np.float32), np.full((-(-n // 16), k, 16), np.nan, np.float32)]
