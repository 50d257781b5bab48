"""csrmv: out = act(W . x + bias + residual), float32, W sparse in CSR with 16-bit columns: a layer on one row."""

from dataclasses import dataclass

import numpy as np

from ._act import activate
from ._spec import reference


@reference(where="act<9,n<2147483648,k<=65536,nnz<2147483648", ahead={"residual": "ldr"})
def csrmv(
    x: "f32[k]",
    rows: "i32[n+1]<nnz+1",
    index: "u16[nnz]<k",
    w: "f32[nnz]",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[n]?",
    out: "f32[n]",
):
    """Row r is w[rows[r]] .. w[rows[r + 1] - 1], in any order, at the columns `index`."""
    for r in range(out.shape[0]):
        total = np.float32(0)
        for q in range(rows[r], rows[r + 1]):
            total += w[q] * x[index[q]]
        if bias is not None:
            total += bias[r]
        if residual is not None:
            total += residual[r]
        out[r] = activate(total, act, act_params)


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights as csrmv reads them.

    Attributes
    ----------
    rows : int32[n+1], where the weights of each row begin
    index : uint16[nnz], their columns
    w : float32[nnz]
    """

    rows: np.ndarray
    index: np.ndarray
    w: np.ndarray


def pack(w):
    """The nonzero weights of f32[n,k], row by row with ascending columns.

    Raises
    ------
    ValueError
        If k is greater than 65536, or if there are 2**31 - 1 such weights or more.
    """
    n, k = w.shape
    if k > 1 << 16:
        raise ValueError(f"csrmv: k must be at most 65536, got {k}")
    row, column = np.nonzero(w)
    if len(row) >= 2**31 - 1:
        raise ValueError(f"csrmv: less than 2**31 - 1 weights may differ from zero, got {len(row)}")
    rows = np.zeros(n + 1, np.int32)
    np.cumsum(np.bincount(row, minlength=n), out=rows[1:])
    return Packed(rows, column.astype(np.uint16), w[row, column].astype(np.float32))


def example(rng, n, k, sparsity=0.8):
    """Random arguments of the given sizes, for tests and benchmarks; about `sparsity` of the weights are zero."""
    x = rng.standard_normal(k, np.float32)
    packed = pack(rng.standard_normal((n, k), np.float32) * (rng.random((n, k)) >= sparsity))
    bias = rng.standard_normal(n, np.float32)
    residual = rng.standard_normal(n, np.float32)
    params = np.array([-1, 1], np.float32)
    return [x, packed.rows, packed.index, packed.w, bias, 2, params, residual, np.full(n, np.nan, np.float32)]
