"""csrmm: out = W . x, W sparse in CSR as in SciPy: indices in any order, duplicates are added."""

import numpy as np

from ._spec import reference


@reference()
def csrmm(
    rows: "i32[n+1]<nnz+1",
    index: "i32[nnz]<k",
    w: "{f32,f64}t[nnz]",
    x: "{f32,f64}t[k:ldx,m:incx]",
    out: "{f32,f64}t[n:ldo,m]",
):
    for r in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = out.dtype.type(0)
            for q in range(rows[r], rows[r + 1]):
                total += w[q] * x[index[q], j]
            out[r, j] = total


def example(rng, n, k, m, zeros=0.8, dtype=np.float32, order="C"):
    """Random arguments of the given sizes, for tests and benchmarks; `order`: memory order of x, as in NumPy."""
    kept = rng.random((n, k)) >= zeros
    rows = np.zeros(n + 1, np.int32)
    rows[1:] = np.count_nonzero(kept, 1).cumsum()
    index = kept.nonzero()[1].astype(np.int32)
    w = rng.standard_normal(len(index)).astype(dtype)
    x = np.asarray(rng.standard_normal((k, m)).astype(dtype), order=order)
    return [rows, index, w, x, np.full((n, m), np.nan, dtype)]
