"""SparseLinear: a linear layer with sparse weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from .._pcx import ffi
from ..sparse import CSR, csr, run
from .base import NONE, Linear, address, checked_bias, read, write

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_STORED = {"weight_data", "weight_indices", "weight_indptr", "weight_shape"}
MAX_K = 1 << 16  # columns are 16 bits
SLICED = 1 << 28  # n * k; beyond it, no slices are made, since that needs the dense matrix


class SparseLinear(Linear):
    """y = x W' + bias for sparse float32 weights W, n x k.

    Made by `from_dense`, `from_scipy` or `load`; weights are copied. A call releases the GIL; calls from several threads are safe.

    Parameters
    ----------
    rows : int32[n + 1] or int64[n + 1]
    index : int32[nnz] or int64[nnz]
    w : float32[nnz] or float64[nnz]
        CSR arrays without duplicates.
    k : int
        Columns, at most 65536.
    bias : float[n], optional

    Raises
    ------
    TypeError, ValueError
        If they are not the CSR arrays of an n x k matrix, or the bias has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from pycompress.layers import SparseLinear
    >>> layer = SparseLinear.from_dense(np.eye(4), bias=np.full(4, 0.5))
    >>> layer(np.arange(4, dtype=np.float32))
    array([0.5, 1.5, 2.5, 3.5], dtype=float32)
    >>> layer.density
    0.25
    """

    def __init__(self, rows: np.ndarray, index: np.ndarray, w: np.ndarray, k: int, bias: ArrayLike | None = None):
        """Of CSR arrays; see the class."""
        rows, index, w, (n, k) = csr((np.array(rows), np.array(index), w, (len(rows) - 1, k)))  # copies, then checked
        if k > MAX_K:
            raise ValueError(f"SparseLinear: at most {MAX_K} inputs, got {k}")
        self._shape, self._bias = (
            (n, k),
            checked_bias("SparseLinear", bias, n),
        )  # private, because kernels rely on them
        self._rows, self._index, self._w = rows, index.astype(np.uint16), w.astype(np.float32)
        self._slices = None

    @classmethod
    def from_scipy(cls, A: CSR, bias: ArrayLike | None = None) -> SparseLinear:
        """Of a sparse matrix, as ``pycompress.spmm`` takes it; duplicates are added up.

        Parameters
        ----------
        A : array or matrix of scipy.sparse in any format, n x k, or (indptr, indices, data, shape)
            Rounded to float32.
        bias : float[n], optional

        Returns
        -------
        SparseLinear

        Raises
        ------
        TypeError, ValueError
            As ``pycompress.spmm``; or if k is more than 65536, or the bias has another shape.
        """
        indptr, indices, data, (n, k) = csr(A)
        used = int(indptr[-1])
        cell = np.repeat(np.arange(n, dtype=np.int64), np.diff(indptr)) * max(k, 1) + indices[:used]
        cell, where = np.unique(cell, return_inverse=True)
        w = np.bincount(where.reshape(-1), data[:used], len(cell)).astype(np.float32)
        cell, w = cell[w != 0], w[w != 0]
        rows = np.searchsorted(cell, np.arange(n + 1, dtype=np.int64) * max(k, 1))
        return cls(rows, cell % max(k, 1), w, k, bias)

    @classmethod
    def from_dense(cls, W: ArrayLike, bias: ArrayLike | None = None) -> SparseLinear:
        """Of a float array; its zeros are not stored.

        Parameters
        ----------
        W : float[n, k]
        bias : float[n], optional

        Returns
        -------
        SparseLinear

        Raises
        ------
        ValueError
            If W is not a matrix, or as in `from_scipy`.
        """
        W = np.asarray(W, np.float32)
        if W.ndim != 2:
            raise ValueError(f"SparseLinear: W must be a matrix, got shape {W.shape}")
        row, column = np.nonzero(W)
        return cls(np.searchsorted(row, np.arange(len(W) + 1)), column, W[row, column], W.shape[1], bias)

    @classmethod
    def load(cls, path: str | os.PathLike, name: str = "") -> SparseLinear:
        """The module `name` of a safetensors file, as `save` writes it.

        Parameters
        ----------
        path : path
        name : str
            What the names of its tensors begin with, without the last dot.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the file has no such module, or its tensors are not the CSR arrays of a matrix.
        """
        tensors, _ = read(path, name)
        if not _STORED <= set(tensors) <= _STORED | {"bias"}:
            needed = ", ".join(sorted(_STORED))
            raise ValueError(f"{os.fspath(path)}: needs {needed}, has {', '.join(sorted(tensors))}")
        shape, index = np.asarray(tensors["weight_shape"]).reshape(-1), tensors["weight_indices"]
        if shape.dtype.kind not in "iu" or shape.size != 2 or not 0 <= shape[1] <= MAX_K:
            raise ValueError(f"{os.fspath(path)}: weight_shape must be two sizes, at most {MAX_K} columns")
        rows = tensors["weight_indptr"]
        if rows.ndim != 1 or len(rows) != int(shape[0]) + 1:
            raise ValueError(
                f"{os.fspath(path)}: weight_indptr must have {int(shape[0]) + 1} numbers, has {rows.shape}"
            )
        if index.dtype == np.uint16:
            index = index.astype(np.int32)
        parts = (rows, index, tensors["weight_data"], (int(shape[0]), int(shape[1])))
        return cls.from_scipy(parts, tensors.get("bias"))

    def save(self, path: str | os.PathLike, name: str = "") -> None:
        """Write a safetensors file of `weight_data` [nnz], `weight_indices` [nnz], `weight_indptr` [n + 1], `weight_shape` and,
        where there is one, `bias` [n]: SciPy's words.
        """
        write(path, name, *self._tensors())

    def _tensors(self):
        tensors = {
            "weight_data": self._w, "weight_indices": self._index, "weight_indptr": self._rows,
            "weight_shape": np.array(self._shape, np.int64), "bias": self._bias,
        }  # fmt: skip
        return tensors, {}

    @property
    def density(self) -> float:
        """The share of weights that are not zero."""
        n, k = self.shape
        return len(self._w) / (n * k) if n * k else 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights and the bias."""
        held = [self._rows, self._index, self._w, *(self._slices or ())]
        return sum(x.nbytes for x in held) + (0 if self._bias is None else self._bias.nbytes)

    def dense(self) -> np.ndarray:
        """The weights as an array float32[n, k]."""
        W = np.zeros(self.shape, np.float32)
        W[np.repeat(np.arange(self.shape[0]), np.diff(self._rows)), self._index] = self._w
        return W

    def __repr__(self):
        return f"SparseLinear({self.shape[0]} x {self.shape[1]}, density {self.density:.3f})"

    def _product(self, x: np.ndarray, out: np.ndarray, m: int, num_threads: int | None) -> None:
        n, k = self.shape
        if m == 1:
            args = ffi.new("pcx_csrmv_args *")
            rows, index, w = self._rows, self._index, self._w
            args.x, args.out, args.tail.bias = (address(a) for a in (x, out, self._bias))
            args.tail.act_params = address(NONE)
        else:
            args = ffi.new("pcx_spmm_args *")
            rows, index, w = self._sliced() if m > kernels.module("spmm").FEW else (self._rows, self._index, self._w)
            args.m, args.lda, args.ldo, args.slices = m, k, n, rows.size // (n + 1)
            args.ldk = args.ldc = 1
            args.a, args.out, args.tail.bias = (address(a) for a in (x, out, self._bias))
            args.tail.act_params = address(NONE)
        args.k, args.n, args.nnz = k, n, len(w)
        args.rows, args.index, args.w = address(rows, "int32_t *"), address(index, "uint16_t *"), address(w)
        run("csrmv" if m == 1 else "spmm", args, num_threads, m * len(w))

    def _sliced(self):
        """Rows, indices and weights in slices of columns, made at the first call with many rows."""
        n, k = self.shape
        if n * k > SLICED:
            return self._rows, self._index, self._w
        if self._slices is None:
            packed = kernels.module("spmm").pack(self.dense())
            self._slices = packed.rows, packed.index, packed.w
        return self._slices
