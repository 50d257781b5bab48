"""matmul: the products of many pairs of small float32 matrices, both of them run-time data."""

import numpy as np

from ._spec import reference


@reference(where="m<2147483648,n<2147483648,k<2147483648", macs="g*m*n*k")
def matmul(a: "f32[g:ag,m:am,k]", b: "f32[g:bg,k:bk,n:bn]", out: "f32[g:og,m:ldo,n]"):
    for p in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                total = np.float32(0)
                for q in range(a.shape[2]):
                    total += a[p, i, q] * b[p, q, j]
                out[p, i, j] = total


def example(rng, g=5, m=7, n=37, k=9):
    """Random factors."""
    a, b = rng.standard_normal((g, m, k), np.float32), rng.standard_normal((g, k, n), np.float32)
    return [a, b, np.full((g, m, n), np.nan, np.float32)]
