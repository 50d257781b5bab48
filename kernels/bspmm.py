"""bspmm: sgemm with block-sparse weights: for each 16 neighbouring columns, only the listed k are stored."""

from dataclasses import dataclass

import numpy as np

from ._act import activate
from ._spec import reference
from ._traits import Traits

NR = 16


@reference(
    where="act<9,m<2147483648,n<2147483648,k<=65536,blocks<2147483648",
    macs="m*blocks*16",
    traits=Traits(
        sums="float", weights={"w": "bspmm"}, tile="rows", dense="sgemm", block=(16, 1), pattern="16x1 blocks"
    ),
)
def bspmm(
    a: "f32[m:lda,k]",
    rows: "i32[ceil(n/16)+1]<blocks+1",
    index: "u16[blocks]<k",
    w: "f32[blocks,16]",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[m:ldr,n]?",
    out: "f32[m:ldo,n]",
):
    """The blocks of columns 16p .. 16p + 15 are rows[p] .. rows[p + 1] - 1; block b are those columns' weights
    at k = index[b], summed in this order."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = np.float32(0)
            for b in range(rows[j // 16], rows[j // 16 + 1]):
                total += a[i, index[b]] * w[b, j % 16]
            if bias is not None:
                total += bias[j]
            if residual is not None:
                total += residual[i, j]
            out[i, j] = activate(total, act, act_params)


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights as bspmm reads them.

    Attributes
    ----------
    rows : int32[ceil(n/16)+1], where the blocks of each panel of 16 columns begin
    index : uint16[blocks], the k of each block, ascending within a panel
    w : float32[blocks,16]; columns past n are zero
    """

    rows: np.ndarray
    index: np.ndarray
    w: np.ndarray


def pack(w):
    """Weights f32[n,k] without the blocks of 16 rows x 1 k that are all zero; -0 counts as zero, NaN does not.

    Raises
    ------
    ValueError
        If k is greater than 65536, the range of indices.
    """
    n, k = w.shape
    if k > 1 << 16:
        raise ValueError(f"bspmm: k must be at most 65536, got {k}")
    panels = -(-n // NR)
    full = np.zeros((panels * NR, k), np.float32)
    full[:n] = w
    full = full.reshape(panels, NR, k).transpose(0, 2, 1)
    kept = (full != 0).any(2)
    rows = np.zeros(panels + 1, np.int32)
    np.cumsum(kept.sum(1), out=rows[1:])
    return Packed(rows, np.nonzero(kept)[1].astype(np.uint16), np.ascontiguousarray(full[kept]))


def example(rng, m, n, k, sparsity=0.7):
    """Random arguments of the given sizes, for tests and benchmarks; about `sparsity` of the blocks are zero."""
    a = rng.standard_normal((m, k), np.float32)
    w = rng.standard_normal((n, k), np.float32)
    zero = rng.random((-(-n // NR), k)) < sparsity
    w[np.repeat(zero, NR, 0)[:n]] = 0
    packed = pack(w)
    bias = rng.standard_normal(n, np.float32)
    residual = rng.standard_normal((m, n), np.float32)
    params = np.array([-1, 1], np.float32)
    out = np.full((m, n), np.nan, np.float32)
    return [a, packed.rows, packed.index, packed.w, bias, 2, params, residual, out]
