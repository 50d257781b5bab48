"""The base class of layers: calls and files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .._pcx import ffi
from ..arrays import shared
from ..formats import atomic
from ..sparse import checked_out, pointer, straight

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NONE = np.zeros(2, np.float32)  # parameters of an activation without parameters
_FLOAT = np.dtype(np.float32)
_READABLE = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64"}


class Linear:
    """y = x W' + bias for weights W, n x k, in some stored form. Calls release the GIL and are safe from several threads."""

    _shape: tuple[int, int]  # private, because kernels rely on it
    _bias: np.ndarray | None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, k): outputs and inputs."""
        return self._shape

    @property
    def bias(self) -> np.ndarray | None:
        """A copy of the bias, float32[n]."""
        return None if self._bias is None else self._bias.copy()

    def __call__(self, x: np.ndarray, out: np.ndarray | None = None, *, num_threads: int | None = None) -> np.ndarray:
        """x W' + bias, for any leading dimensions.

        Parameters
        ----------
        x : float32[..., k]
            NumPy's, or an array with ``__dlpack__`` (torch's, say) or a buffer, whose memory is read in place.
        out : float32[..., n], C-contiguous, optional
            Where to write, likewise; it must not overlap x.
        num_threads : int, optional
            Default: ``pycompress.get_num_threads()``, or 1 if there is little to do.

        Returns
        -------
        float32[..., n]
            NumPy's array, or `out`.

        Raises
        ------
        TypeError, ValueError
            If a type or shape does not fit.
        """
        name, (n, k) = type(self).__name__, self._shape
        if not isinstance(x, np.ndarray):
            x = shared(x, f"{name}: x")
        if x.dtype != _FLOAT:
            raise TypeError(f"{name}: x must be a float32 array, got {x.dtype}")
        if not x.ndim or x.shape[-1] != k:
            raise ValueError(f"{name}: x must have {k} columns, got shape {x.shape}")
        shape = (*x.shape[:-1], n)
        if out is None:
            out = y = np.empty(shape, np.float32)
        else:
            y = shared(out, f"{name}: out")
            checked_out(y, shape, _FLOAT, (x,), name)
        self._product(straight(x), y, math.prod(shape[:-1]), num_threads)
        return out

    def _product(self, x: np.ndarray, out: np.ndarray, m: int, num_threads: int | None) -> None:
        """Fill out[m rows, n] from x[m rows, k], both C-contiguous."""
        raise NotImplementedError


def dense_weights(name: str, W: ArrayLike) -> np.ndarray:
    """W as float32[n, k].

    Raises
    ------
    ValueError
        If it is not a matrix of finite numbers.
    """
    W = np.asarray(W, np.float32)
    if W.ndim != 2:
        raise ValueError(f"{name}: W must be a matrix, got shape {W.shape}")
    if not np.isfinite(W).all():
        raise ValueError(f"{name}: W must be finite")
    return W


def checked_bias(name: str, bias: ArrayLike | None, n: int) -> np.ndarray | None:
    """A copy of the bias as float32[n].

    Raises
    ------
    ValueError
        If it has another shape.
    """
    if bias is None:
        return None
    bias = np.array(bias, np.float32)
    if bias.shape != (n,):
        raise ValueError(f"{name}: bias must have shape ({n},), got {bias.shape}")
    return bias


def address(x: np.ndarray | None, kind: str = "float *"):
    """The address of an array for C; NULL for None."""
    return ffi.NULL if x is None else pointer(kind, x)


def unpacked(panels: np.ndarray, rows: int) -> np.ndarray:
    """sgemm's panels [ceil(rows/16), k, 16] as a matrix [rows, k]."""
    count, k, lanes = panels.shape
    return np.ascontiguousarray(panels.transpose(0, 2, 1).reshape(count * lanes, k)[:rows])


def write(path: str | os.PathLike, name: str, tensors: Mapping[str, np.ndarray | None], metadata=None) -> None:
    """Write a safetensors file of the tensors that are not None, each called `name`.its own name; completely or not at all."""
    atomic.write(path, _safetensors("numpy").save(named(name, tensors), metadata or None))


def named(name: str, tensors: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """The tensors of the module `name` that are not None, by their full names."""
    prefix = f"{name}." if name else ""
    return {prefix + key: np.ascontiguousarray(x) for key, x in tensors.items() if x is not None}


def modules(path: str | os.PathLike) -> dict[str, set[str]]:
    """The modules of a safetensors file, sorted, with the names of their tensors."""
    found: dict[str, set[str]] = {}
    with _opened(path) as file:
        for key in sorted(file.keys()):
            name, _, word = key.rpartition(".")
            found.setdefault(name, set()).add(word)
    return dict(sorted(found.items()))


def _opened(path: str | os.PathLike):
    safetensors = _safetensors("")
    try:
        return safetensors.safe_open(os.fspath(path), "numpy")
    except safetensors.SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: no safetensors file: {error}") from None


def read(path: str | os.PathLike, name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(tensors of the module `name` in a safetensors file, by their names within it; the file's metadata).

    Raises
    ------
    KeyError
        If the file has none.
    ValueError
        If it is no safetensors file, or a tensor has a type that layers do not support (float8).
    """
    prefix = f"{name}." if name else ""
    with _opened(path) as file:
        keys = [key for key in file.keys() if key.startswith(prefix) and "." not in key[len(prefix) :]]
        if not keys:
            modules = sorted({key.rpartition(".")[0] for key in file.keys()})
            raise KeyError(f"{os.fspath(path)} has no module {name!r}; it has {', '.join(map(repr, modules[:8]))}")
        for key in keys:  # NumPy has no float8, and the error that safetensors raises then does not say so
            if (stored := file.get_slice(key).get_dtype()) not in _READABLE:
                raise ValueError(f"{os.fspath(path)}: {key} is stored as {stored}, which is not supported")
        return {key[len(prefix) :]: file.get_tensor(key) for key in keys}, file.metadata() or {}


def _safetensors(module: str):
    from importlib import import_module

    try:
        import_module("ml_dtypes")  # bfloat16
        return import_module(f"safetensors.{module}" if module else "safetensors")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"files of layers need {error.name}: pip install 'pycompress-engine[layers]'"
        ) from None
