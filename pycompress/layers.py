"""Layers for other libraries: weights packed once, called many times on numpy arrays."""

from __future__ import annotations

import numpy as np

from . import kernels
from ._pcx import ffi
from .sparse import checked_out, csr, pointer, run

LARGEST_K = 1 << 16  # columns are 16 bits
FEW = 8  # rows, up to which the weights are read as they are; of more, in slices of columns that stay in the L1 cache
SLICED = 1 << 28  # n * k, beyond which slices are not worth the dense matrix they are made from


class SparseLinear:
    """y = x W' + bias for float32 weights W, n x k, most of which are zero.

    Made by `from_dense` or `from_scipy`. A call releases the GIL; calls from several threads are safe.

    Attributes
    ----------
    shape : (n, k)
    density : float
        The share of weights that are not zero.
    nbytes : int
        Bytes of the packed weights and the bias.
    """

    def __init__(self, rows: np.ndarray, index: np.ndarray, w: np.ndarray, k: int, bias=None):
        n = len(rows) - 1
        if k > LARGEST_K:
            raise ValueError(f"SparseLinear: at most {LARGEST_K} inputs, got {k}")
        if bias is not None:
            bias = np.ascontiguousarray(bias, np.float32)
            if bias.shape != (n,):
                raise ValueError(f"SparseLinear: bias must have shape ({n},), got {bias.shape}")
        self.shape, self.bias = (n, k), bias
        self._rows, self._index, self._w = rows.astype(np.int32), index.astype(np.uint16), w.astype(np.float32)
        self._slices = None
        self._none = np.zeros(2, np.float32)

    @classmethod
    def from_scipy(cls, A, bias=None) -> SparseLinear:
        """Of a scipy.sparse CSR or BSR array n x k, or (indptr, indices, data, shape); duplicates are added up.

        Raises
        ------
        TypeError, ValueError
            As ``pycompress.spmm``; if k is more than 65536; if the bias is not [n].
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
    def from_dense(cls, W, bias=None) -> SparseLinear:
        """Of an array [n, k]; its zeros are left out.

        Raises
        ------
        ValueError
            If W is not a matrix, or as `from_scipy`.
        """
        W = np.asarray(W, np.float32)
        if W.ndim != 2:
            raise ValueError(f"SparseLinear: W must be a matrix, got shape {W.shape}")
        row, column = np.nonzero(W)
        return cls(np.searchsorted(row, np.arange(len(W) + 1)), column, W[row, column], W.shape[1], bias)

    @property
    def density(self) -> float:
        n, k = self.shape
        return len(self._w) / (n * k) if n * k else 0.0

    @property
    def nbytes(self) -> int:
        held = [self._rows, self._index, self._w, *([self.bias] if self.bias is not None else [])]
        return sum(x.nbytes for x in held) + (sum(x.nbytes for x in self._slices) if self._slices else 0)

    def dense(self) -> np.ndarray:
        """The weights as an array float32[n, k]."""
        W = np.zeros(self.shape, np.float32)
        W[np.repeat(np.arange(self.shape[0]), np.diff(self._rows)), self._index] = self._w
        return W

    def __repr__(self):
        return f"SparseLinear({self.shape[0]} x {self.shape[1]}, density {self.density:.3f})"

    def __call__(self, x: np.ndarray, out: np.ndarray | None = None, *, num_threads: int | None = None) -> np.ndarray:
        """x W' + bias, for any leading dimensions.

        Parameters
        ----------
        x : float32[..., k]
        out : float32[..., n], C-contiguous, optional
            Where to write; it must not overlap x.
        num_threads : int, optional
            By default ``pycompress.get_num_threads()``.

        Raises
        ------
        TypeError, ValueError
            If a type or shape does not fit.
        """
        n, k = self.shape
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            raise TypeError(f"SparseLinear: x must be a float32 array, got {getattr(x, 'dtype', type(x).__name__)}")
        if not x.ndim or x.shape[-1] != k:
            raise ValueError(f"SparseLinear: x must have {k} columns, got shape {x.shape}")
        shape = (*x.shape[:-1], n)
        if out is None:
            out = np.empty(shape, np.float32)
        else:
            checked_out(out, shape, np.float32, x, "SparseLinear")
        x = np.ascontiguousarray(x)
        m = int(np.prod(shape[:-1], dtype=np.int64))
        if m == 1:
            args = ffi.new("pcx_csrmv_args *")
            rows, index, w = self._rows, self._index, self._w
            args.x, args.out, args.bias = (self._float(a) for a in (x, out, self.bias))
            args.act_params = self._float(self._none)
        else:
            args = ffi.new("pcx_spmm_args *")
            rows, index, w = self._sliced() if m > FEW else (self._rows, self._index, self._w)
            args.m, args.lda, args.ldo, args.slices = m, k, n, rows.size // (n + 1)
            args.a, args.out, args.tail.bias = (self._float(a) for a in (x, out, self.bias))
            args.tail.act_params = self._float(self._none)
        args.k, args.n, args.nnz = k, n, len(w)
        args.rows, args.index = pointer("int32_t *", rows), pointer("uint16_t *", index)
        args.w = pointer("float *", w)
        run("csrmv" if m == 1 else "spmm", args, num_threads)
        return out

    def _sliced(self):
        """Rows, indices and weights in slices of columns, made at the first call with many rows."""
        n, k = self.shape
        if n * k > SLICED:
            return self._rows, self._index, self._w
        if self._slices is None:
            packed = kernels.module("spmm").pack(self.dense())
            self._slices = packed.rows, packed.index, packed.w
        return self._slices

    @staticmethod
    def _float(x: np.ndarray | None):
        return ffi.NULL if x is None else pointer("float *", x)
