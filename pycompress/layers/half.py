"""HalfLinear: a linear layer with float16 or bfloat16 weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from .._pcx import ffi, lib
from ..native import aligned
from ..sparse import run
from ..weights import Half, rounded
from .base import NONE, Linear, address, checked_bias, dense_weights, read, unpacked, write

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

TYPES = {"float16": lib.PCX_F16, "bfloat16": lib.PCX_BF16}


class HalfLinear(Linear):
    """y = x W' + bias, float32, for weights W, n x k, stored as float16 or bfloat16 (which needs ml_dtypes).

    Weights are widened when they are read, and sums are float32. With a few rows the time is that of reading the weights
    from memory, half of what float32 needs. Made by `from_dense` or `load`; weights are copied. A call releases the GIL;
    calls from several threads are safe.

    Parameters
    ----------
    weights : Half
        Stored weights, float16[n, k] or bfloat16[n, k] (``pycompress.weights``).
    bias : float[n], optional

    Raises
    ------
    ValueError
        If the weights are not such a matrix, or the bias has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from pycompress.layers import HalfLinear
    >>> layer = HalfLinear.from_dense(np.ones((4, 8)), bias=np.zeros(4), dtype="float16")
    >>> layer(np.ones((2, 8), np.float32))
    array([[8., 8., 8., 8.],
           [8., 8., 8., 8.]], dtype=float32)
    """

    def __init__(self, weights: Half, bias: ArrayLike | None = None):
        """Of stored weights; see the class."""
        kind = getattr(weights.w, "dtype", None)
        if weights.w.ndim != 2 or kind.name not in TYPES:
            raise ValueError(f"HalfLinear: weights must be a matrix of {' or '.join(TYPES)}, got {kind}")
        packed = kernels.module("hgemm").pack(weights.w)
        self._shape, self._bias = weights.w.shape, checked_bias("HalfLinear", bias, len(weights.w))
        self._packed = aligned(packed.shape, packed.dtype, packed)

    @classmethod
    def from_dense(cls, W: ArrayLike, bias: ArrayLike | None = None, dtype: str = "float16") -> HalfLinear:
        """Of a float array, rounded to the nearest.

        Parameters
        ----------
        W : float[n, k]
        bias : float[n], optional
        dtype : {"float16", "bfloat16"}

        Returns
        -------
        HalfLinear

        Raises
        ------
        ValueError
            If W is not a finite matrix or has a number beyond the range of `dtype`, or `dtype` is neither of these.
        """
        if dtype not in TYPES:
            raise ValueError(f"HalfLinear: dtype must be {' or '.join(TYPES)}, got {dtype!r}")
        W = dense_weights("HalfLinear", W)
        half = rounded(W, dtype)
        if half is None:
            raise ValueError(f"HalfLinear: weights of up to {np.abs(W).max():.4g} are beyond the range of {dtype}")
        return cls(half, bias)

    @classmethod
    def load(cls, path: str | os.PathLike, name: str = "") -> HalfLinear:
        """The module `name` of a safetensors file: `weight`, F16 or BF16, and `bias`, as `save` and torch's layers write them.

        Parameters
        ----------
        path : path
        name : str
            What the names of its tensors begin with, without the last dot.

        Raises
        ------
        KeyError, ValueError
            If the file has no such module, or it is stored otherwise.
        """
        tensors, _ = read(path, name)
        what = f"{os.fspath(path)}: {name or 'the module'}"
        if set(tensors) - {"bias"} != {"weight"}:
            raise ValueError(f"{what}: must be weight and bias, has {', '.join(sorted(tensors))}")
        bias = tensors.get("bias")
        return cls(Half(tensors["weight"]), None if bias is None else bias.astype(np.float32))

    def save(self, path: str | os.PathLike, name: str = "") -> None:
        """Write a safetensors file."""
        write(path, name, *self._tensors())

    def _tensors(self):
        return {"weight": self._weight(), "bias": self._bias}, {}

    @property
    def dtype(self) -> str:
        """The stored type: "float16" or "bfloat16"."""
        return self._packed.dtype.name

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights and the bias."""
        return self._packed.nbytes + (0 if self._bias is None else self._bias.nbytes)

    def _weight(self) -> np.ndarray:
        """The stored weights [n, k]."""
        return unpacked(self._packed, self.shape[0])

    def dense(self) -> np.ndarray:
        """The weights as float32[n, k]."""
        return self._weight().astype(np.float32)

    def __repr__(self):
        return f"HalfLinear({self.shape[0]} x {self.shape[1]}, {self.dtype})"

    def _product(self, x: np.ndarray, out: np.ndarray, m: int, num_threads: int | None) -> None:
        n, k = self.shape
        args = ffi.new("pcx_hgemm_args *")
        args.m, args.lda, args.k, args.n, args.ldw, args.ldo = m, k, k, n, 16 * k, n
        args.wt = TYPES[self.dtype]
        args.a, args.out, args.w = address(x), address(out), address(self._packed, "void *")
        args.tail.bias, args.tail.act_params = address(self._bias), address(NONE)
        run("hgemm", args, num_threads, m * n * k)
