"""spmm: out = act(a . w' + bias + residual), float32, with sparse weights.

The weights, n x k, are stored by rows (CSR), but cut along k into slices: first the nonzeros of
slice 0, row after row, then those of slice 1, and so on.  A kernel that processes slice by slice reads
only the columns of one slice at a time, which then stay in the L1 cache.  Each sum still runs along k.

Images may be channel-last (HWC) or channel-first (CHW): the strides say which.
"""

from dataclasses import dataclass

import numpy as np

from ._act import activate
from ._spec import reference
from ._traits import Traits

SLICE = (128, 512)  # min and max columns: 128 columns times 64 pixels fill an L1 cache of 32 KiB
WORTH = 24  # nonzeros per row and slice that outweigh loading and storing the sums
FEW = 8  # pixels; up to here slices gain nothing


@reference(
    where="act<9,m<2147483648,n<2147483648,k<=65536",
    macs="m*nnz",
    traits=Traits(
        sums="float",
        weights={"w": "spmm"},
        tile="rows",
        chw=("a", "residual", "out"),
        dense="sgemm",
        pattern="unstructured",
    ),
    ahead={"bias": "lds"},
)
def spmm(
    a: "f32[m:lda,k:ldk]",
    rows: "i32[slices,n+1]<nnz+1",
    index: "u16[nnz]<k",
    w: "f32[nnz]",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[m:ldr,n:lds]?",
    out: "f32[m:ldo,n:ldc]",
):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = np.float32(0)
            if bias is not None:
                total += bias[j]
            for s in range(rows.shape[0]):
                for q in range(rows[s, j], rows[s, j + 1]):
                    total += a[i, index[q]] * w[q]
            if residual is not None:
                total += residual[i, j]
            out[i, j] = activate(total, act, act_params)


@dataclass(frozen=True)
class Packed:
    """Weights f32[n,k] as spmm reads them.

    Attributes
    ----------
    rows : int32[slices, n + 1], where each slice's rows begin in `index` and `w`, and where its last row ends
    index : uint16[nnz], the columns, ascending in each row
    w : float32[nnz]
    """

    rows: np.ndarray
    index: np.ndarray
    w: np.ndarray


def pack(w, m=None, columns=None):
    """The nonzeros of weights f32[n,k], in slices of at most `columns` columns and as equal sizes as possible.

    Parameters
    ----------
    m : int, optional
        The number of pixels.  For few pixels slices gain nothing, and there is only one.
    columns : int, optional
        Default: the measured optimum; the sparser the weights, the more columns.

    Raises
    ------
    ValueError
        If k is more than 65536 or more than 2**31 - 2 weights are not zero.
    """
    n, k = w.shape
    if columns is None and m is not None and m <= FEW:
        columns = max(k, 1)
    elif columns is None:
        columns = min(max(SLICE[0], WORTH * n * k // max(np.count_nonzero(w), 1)), SLICE[1])
    slices = -(-k // columns)
    width = -(-k // max(slices, 1))
    if k > 65536:
        raise ValueError(f"spmm takes at most 65536 columns, got {k}")
    full = np.zeros((n, slices * width), np.float32)
    full[:, :k] = w
    full = full.reshape(n, slices, width).transpose(1, 0, 2)
    s, _, column = full.nonzero()
    rows = np.zeros((slices, n + 1), np.int64)
    rows[:, 1:] = np.count_nonzero(full, 2).cumsum().reshape(slices, n)
    rows[1:, 0] = rows[:-1, n]
    if len(s) >= 2**31 - 1:
        raise ValueError(f"spmm takes less than 2**31 - 1 weights that are not zero, got {len(s)}")
    return Packed(rows.astype(np.int32), (s * width + column).astype(np.uint16), full[full != 0])


def dense(packed, k):
    """The dense weights f32[n,k] of packed ones."""
    slices, n = packed.rows.shape[0], packed.rows.shape[1] - 1
    row = np.repeat(np.tile(np.arange(n), slices), np.diff(packed.rows, axis=1).reshape(-1))
    w = np.zeros((n, k), np.float32)
    w[row, packed.index] = packed.w
    return w


def channel_first(x):
    """The matrix `x` [m, n] in channel-first layout, with gaps of a few floats between channels."""
    image = np.zeros((x.shape[1], x.shape[0] + 3), x.dtype)
    image[:, : len(x)] = x.T
    return image[:, : len(x)].T


def example(rng, m, n, k, zeros=0.8, columns=None):
    """Random arguments of the given sizes, for tests and benchmarks; `zeros`: the share of weights that are zero."""
    a = rng.standard_normal((m, k), np.float32)
    w = pack(rng.standard_normal((n, k), np.float32) * (rng.random((n, k)) >= zeros), m, columns)
    bias = rng.standard_normal(n, np.float32)
    residual = rng.standard_normal((m, n), np.float32)
    params = np.array([-1, 1], np.float32)
    return [a, w.rows, w.index, w.w, bias, 2, params, residual, np.full((m, n), np.nan, np.float32)]
