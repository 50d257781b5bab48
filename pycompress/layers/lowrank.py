"""LowRankLinear: a linear layer whose weights are a low-rank product of two factors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from .._pcx import ffi
from ..sparse import LITTLE, run
from .base import NONE, Linear, address, checked_bias, dense_weights, read, unpacked, write

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FEW = 48  # rows; with fewer, threads split the columns of each product instead


class LowRankLinear(Linear):
    """y = (x U') V' + bias in float32, where V U, n x r times r x k, approximates weights W, n x k.

    It stores r (n + k) numbers and needs as many multiplications for each row of x: less than the n k of W if
    r < n k / (n + k). The r numbers between the products stay in the cache. Made by `from_dense`, by `load` or of the two
    factors, which are copied. A call releases the GIL; calls from several threads are safe.

    Parameters
    ----------
    U : float[r, k]
    V : float[n, r]
    bias : float[n], optional

    Raises
    ------
    ValueError
        If the factors are not finite matrices, or do not fit each other or the bias.

    Examples
    --------
    >>> import numpy as np
    >>> from pycompress.layers import LowRankLinear
    >>> W = np.outer(np.arange(64.0), np.ones(32))
    >>> layer = LowRankLinear.from_dense(W, energy=0.99)
    >>> layer.rank
    1
    >>> layer(np.ones((5, 32), np.float32)).shape
    (5, 64)
    """

    def __init__(self, U: ArrayLike, V: ArrayLike, bias: ArrayLike | None = None):
        """Of the factors; see the class."""
        U, V = dense_weights("LowRankLinear", U), dense_weights("LowRankLinear", V)
        if V.shape[1] != len(U):
            raise ValueError(f"LowRankLinear: U {U.shape} and V {V.shape} do not multiply")
        self._shape, self._rank = (len(V), U.shape[1]), len(U)
        self._bias = checked_bias("LowRankLinear", bias, len(V))
        pack = kernels.module("sgemm").pack
        self._u, self._v = pack(U), pack(V)

    @classmethod
    def from_dense(
        cls, W: ArrayLike, bias: ArrayLike | None = None, *, rank: int | None = None, energy: float | None = None
    ) -> LowRankLinear:
        """Of a float array: its best approximation of a rank, by a truncated singular value decomposition.

        Both factors are scaled by the square roots of the singular values (Eckart and Young, 1936).

        Parameters
        ----------
        W : float[n, k]
        bias : float[n], optional
        rank : int, from 1 to min(n, k)
        energy : float, in (0, 1]
            Instead of `rank`: take the smallest rank that keeps this share of the sum of squared weights.

        Returns
        -------
        LowRankLinear

        Raises
        ------
        ValueError
            If W is not a finite matrix, or if not exactly one of rank and energy is given, within its range.
        """
        W = dense_weights("LowRankLinear", W)
        if (rank is None) == (energy is None):
            raise ValueError("LowRankLinear: give either rank or energy")
        full = min(W.shape)
        if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= full):
            raise ValueError(f"LowRankLinear: rank must be an integer from 1 to {full}, got {rank!r}")
        if energy is not None and not 0 < energy <= 1:
            raise ValueError(f"LowRankLinear: energy must be in (0, 1], got {energy!r}")
        left, values, right = np.linalg.svd(W.astype(np.float64), full_matrices=False)
        if rank is None:
            kept = np.cumsum(values**2)
            rank = min(int(np.searchsorted(kept, energy * kept[-1])) + 1, full) if full else 0
        root = np.sqrt(values[:rank])
        return cls(root[:, None] * right[:rank], left[:, :rank] * root, bias)

    @classmethod
    def load(cls, path: str | os.PathLike, name: str = "") -> LowRankLinear:
        """The module `name` of a safetensors file, as `save` writes it.

        Parameters
        ----------
        path : path
        name : str
            What the names of its tensors begin with, without the last dot.

        Raises
        ------
        KeyError, ValueError
            If the file has no such module, or its tensors are not these.
        """
        tensors, _ = read(path, name)
        if not {"weight_u", "weight_v"} <= set(tensors) <= {"weight_u", "weight_v", "bias"}:
            raise ValueError(f"{os.fspath(path)}: needs weight_u and weight_v, has {', '.join(sorted(tensors))}")
        return cls(tensors["weight_u"], tensors["weight_v"], tensors.get("bias"))

    def save(self, path: str | os.PathLike, name: str = "") -> None:
        """Write a safetensors file of `weight_u` [r, k], `weight_v` [n, r] and, where there is one, `bias` [n]."""
        write(path, name, *self._tensors())

    def _tensors(self):
        U, V = self.factors()
        return {"weight_u": U, "weight_v": V, "bias": self._bias}, {}

    @property
    def rank(self) -> int:
        """r, the rows of U."""
        return self._rank

    @property
    def nbytes(self) -> int:
        """Bytes of the packed factors and the bias."""
        return self._u.nbytes + self._v.nbytes + (0 if self._bias is None else self._bias.nbytes)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of U, float32[r, k], and V, float32[n, r]."""
        return unpacked(self._u, self._rank), unpacked(self._v, self._shape[0])

    def dense(self) -> np.ndarray:
        """The weights V U that it stands for, float32[n, k]."""
        U, V = self.factors()
        return V @ U

    def __repr__(self):
        return f"LowRankLinear({self._shape[0]} x {self._shape[1]}, rank {self._rank})"

    def _product(self, x: np.ndarray, out: np.ndarray, m: int, num_threads: int | None) -> None:
        (n, k), r = self._shape, self._rank
        products = m * r * (n + k)
        if m < FEW and num_threads != 1 and products >= LITTLE:
            mid = np.empty((m, r), np.float32)
            _sgemm(x, m, k, self._u, r, None, mid, num_threads)
            _sgemm(mid, m, r, self._v, n, self._bias, out, num_threads)
            return
        args = ffi.new("pcx_lowrank_args *")
        args.k, args.r, args.n, args.lda, args.ldo = k, r, n, k, n
        args.u, args.v, args.tail.bias = address(self._u), address(self._v), address(self._bias)
        args.mid_params = args.tail.act_params = address(NONE)
        args.m, args.a, args.out = m, address(x), address(out)
        run("lowrank", args, num_threads, products)


def _sgemm(a, m: int, k: int, w, n: int, bias, out, num_threads) -> None:
    """out[m, n] = a . w + bias, of the packed w."""
    args = ffi.new("pcx_sgemm_args *")
    args.m, args.lda, args.k, args.n, args.ldw, args.ldo = m, k, k, n, k * kernels.module("sgemm").NR, n
    args.a, args.w, args.out, args.tail.bias = (address(x) for x in (a, w, out, bias))
    args.tail.act_params = address(NONE)
    run("sgemm", args, num_threads, m * n * k)
