"""qspmm: sparse s8 weights times u8, summed exactly in int32, with the quantized epilogue.

Weights are stored as blocks of four consecutive k of one output, the *steps* of qgemm, without the
blocks that are all zero: output j has the blocks ``rows[j] : rows[j + 1]``, and block b is at
k = 4 * index[b].

On AVX2 a block gives two int16 lanes per pixel, each the sum of two products, and several blocks of
one output, a *chunk*, are added in these lanes before they are widened.  Since a sum may be computed
in any order, the kernel chooses the blocks of a chunk: with P and N, the sums of a lane's positive
and negated negative weights, it forms chunks with P <= 128 and N <= 128, since 255 * 128 < 2**15.
A block that exceeds these bounds is split in two.  The chunks are not stored in the weights' arrays
or in the file; they are computed from the weights when these are loaded.
"""

from dataclasses import dataclass

import numpy as np

from ._qepilogue import finish, row
from ._spec import reference
from ._traits import Traits
from .qgemm import PAIR, epilogue

BLOCK = 4


@reference(
    where="act<9,k<=65536",
    macs="m*blocks*4",
    traits=Traits(
        sums="integer", weights={"w": "qspmm"}, tile="rows", dense="qgemm", block=(1, 4), pattern="1x4 blocks"
    ),
)
def qspmm(
    a: "u8[m:lda,k]",
    azp: "i32[m:ldz]",
    rows: "i32[n+1]<blocks+1",
    index: "u16[blocks]<ceil(k/4)",
    w: "i8[blocks,4]",
    colsum: "i32[n]",
    bias: "i32[n]?",
    scale: "f32[n]?",
    clamp: "i32[3]?",
    lut: "u8[256]?",
    add_scale: "f32[2]?",
    add_zero: "i32[5]?",
    residual: "u8[m:ldr,n]?",
    act: "size",
    act_params: "f32[2]",
    prepared: "prepared",
    out: "{u8,i32,f32}ot[m:ldo,n]",
):
    for i in range(out.shape[0]):
        za = np.int64(azp[i])
        for j in range(out.shape[1]):
            total = np.int64(0)
            for b in range(rows[j], rows[j + 1]):
                for x in range(4):
                    q = 4 * np.int64(index[b]) + x
                    if q < a.shape[1]:
                        total += (np.int64(a[i, q]) - za) * np.int64(w[b, x])
            added = row(residual, i)
            finish(total, j, bias, scale, clamp, lut, add_scale, add_zero, added, act, act_params, out[i])


@dataclass(frozen=True)
class Packed:
    """Sparse weights as the kernel reads them, and which outputs need no split blocks.

    Attributes
    ----------
    rows : int32[n+1], where each output's blocks begin
    index : uint16[blocks], the position of each block, k / 4
    w : int8[blocks,4], zero padded beyond k
    colsum : int32[n], the sum of each output's weights
    fits : bool[n], whether all blocks of an output are within the bounds; others are split, which is slower
    """

    rows: np.ndarray
    index: np.ndarray
    w: np.ndarray
    colsum: np.ndarray
    fits: np.ndarray


def pack(w):
    """The blocks of dense weights int8[n,k] with any nonzero weight.

    Raises
    ------
    ValueError
        If k is beyond 65536.
    """
    n, k = w.shape
    if k > 65536:
        raise ValueError(f"qspmm: k must be at most 65536, got {k}")
    steps = -(-k // BLOCK)
    full = np.zeros((n, steps * BLOCK), np.int8)
    full[:, :k] = w
    full = full.reshape(n, steps, BLOCK)
    kept = full.any(2)
    rows = np.zeros(n + 1, np.int32)
    np.cumsum(kept.sum(1), out=rows[1:])
    blocks = full[kept]
    # A pair of weights of different signs is always within the bound (|x| <= 128); of the same sign, |x + y| is P or N.
    pairs = full.reshape(n, steps, 2, 2).sum(3, dtype=np.int16)
    fits = (np.abs(pairs) <= PAIR).all((1, 2))
    return Packed(rows, np.nonzero(kept)[1].astype(np.uint16), blocks, w.sum(1, dtype=np.int32), fits)


def sparse(rng, n, k, density=0.25, limit=64):
    """Random weights int8[n,k] with a share `density` of nonzero blocks; |w| <= limit."""
    w = np.clip(np.rint(rng.normal(0, limit / 2.5, (n, k))), -limit, min(limit, 127)).astype(np.int8)
    kept = rng.random((n, -(-k // BLOCK))) < density
    return w * kept.repeat(BLOCK, 1)[:, :k]


def example(rng, m, n, k, density=0.25, limit=64, **tail):
    """Random arguments of the given sizes, for tests and benchmarks."""
    w = pack(sparse(rng, n, k, density, limit))
    a = rng.integers(0, 256, (m, k)).astype(np.uint8)
    azp = np.broadcast_to(np.array([77], np.int32), (m,))
    return [a, azp, w.rows, w.index, w.w, w.colsum, *epilogue(rng, m, n, **tail).values()]
