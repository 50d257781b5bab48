"""QuantizedLinear: a linear layer with weights of 8 or 4 bits, whose input is rounded to 8 bits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from .. import kernels
from .._pcx import ffi, lib
from ..cpu import call_mask
from ..formats import compressed_tensors as ct
from ..formats.gguf import gguf
from ..native import aligned
from ..rounding import round_groups, round_weights
from ..sparse import run
from ..weights import Q4, Q8
from .base import NONE, Linear, address, checked_bias, dense_weights, read, write

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MAX_K = 1 << 16  # sums of 8 bits by 8 bits, in int32
DEPTH = 2  # accumulation depth of 8-bit weights in int16 (kernels/qgemm.py); it costs 0.3 of a bit
GROUP = 32
MAX_RANGE = 1e37  # bound of an input's range, so that float32 holds its width


class QuantizedLinear(Linear):
    """y = x W' + bias for weights W, n x k, of 8 bits with a scale per row, or of 4 bits with a scale per group of columns.

    Each row of x is rounded to uint8 over its own range ("dynamic"), or all rows over a given range ("static"). Sums of
    products are exact integers, and results have the same bytes on every CPU and for any number of threads. x must be
    finite. A call releases the GIL; calls from several threads are safe.

    Made by `from_dense`, `load` or `from_gguf`; weights are copied.

    Parameters
    ----------
    weights : Q8 or Q4
        Stored weights, n x k (``pycompress.weights``).
    bias : float[n], optional
    input_range : (min, max), optional
        As in `from_dense`.

    Raises
    ------
    ValueError
        If a shape does not fit, a scale is not finite, or k is more than 65536.

    Examples
    --------
    >>> import numpy as np
    >>> from pycompress.layers import QuantizedLinear
    >>> W = np.random.default_rng(0).standard_normal((64, 256), np.float32)
    >>> layer = QuantizedLinear.from_dense(W, bits=4, group_size=32)
    >>> layer(np.ones((3, 256), np.float32)).shape
    (3, 64)
    >>> layer
    QuantizedLinear(64 x 256, 4 bits in groups of 32, dynamic)
    """

    def __init__(self, weights: Q8 | Q4, bias: ArrayLike | None = None, input_range: tuple[float, float] | None = None):
        """Of stored weights; see the class."""
        n, k = weights.w.shape
        if k > MAX_K:
            raise ValueError(f"QuantizedLinear: at most {MAX_K} inputs, got {k}")
        if not np.isfinite(weights.scale).all():
            raise ValueError("QuantizedLinear: scales must be finite")
        self._shape, self._bias = (n, k), checked_bias("QuantizedLinear", bias, n)
        self._range = None if input_range is None else _grid(input_range)
        self._bits = 4 if isinstance(weights, Q4) else 8
        if self._bits == 4:
            self._packed = kernels.module("q4gemm").pack(weights)
        else:
            self._packed = kernels.module("qgemm").pack(weights.w)
            self._scale, self._zero = weights.scale.copy(), weights.zero.copy() if weights.zero.any() else None
        self._made: dict[int, np.ndarray] = {}  # what implementations of the kernel prepare of the weights

    @classmethod
    def from_dense(
        cls, W: ArrayLike, bias: ArrayLike | None = None, *, bits: int = 8, group_size: int | None = None, symmetric: bool = True,
        activations: str = "dynamic", input_range: tuple[float, float] | None = None,
    ) -> QuantizedLinear:  # fmt: skip
        """Of a float array, rounded with the scales of the smallest squared error.

        Parameters
        ----------
        W : float[n, k]
        bias : float[n], optional
        bits : 8 or 4
        group_size : int, optional
            Columns that share a scale, a multiple of 32, for 4 bits only; default 32. 0: the whole row.
        symmetric : bool
            Zero points of 0 (for 4 bits: 8 of 16); otherwise one is chosen for each group, for 4 bits only.
        activations : "dynamic" or "static"
        input_range : (min, max), for "static"
            The range of x; values beyond it are clipped.

        Returns
        -------
        QuantizedLinear

        Raises
        ------
        ValueError
            If W is not a finite matrix, or another argument has none of these values.
        """
        W = dense_weights("QuantizedLinear", W)
        if bits not in (4, 8):
            raise ValueError(f"QuantizedLinear: bits must be 8 or 4, got {bits!r}")
        if activations not in ("dynamic", "static") or (activations == "static") != (input_range is not None):
            raise ValueError(
                "QuantizedLinear: activations must be 'dynamic', or 'static' with an input_range, "
                f"got {activations!r} and {input_range!r}"
            )
        if bits == 8:
            if group_size or not symmetric:
                raise ValueError("QuantizedLinear: 8-bit weights are symmetric, with one scale per row")
            q, scale = round_weights(W, DEPTH)
            return cls(Q8(q, scale, np.zeros(len(W), np.int32)), bias, input_range)
        group = GROUP if group_size is None else group_size or max(W.shape[1], 1)
        if group_size is not None and (not isinstance(group_size, int) or group_size < 0 or group_size % 32):
            raise ValueError(f"QuantizedLinear: group_size must be a multiple of 32, or 0, got {group_size!r}")
        return cls(round_groups(W, group, symmetric), bias, input_range)

    @classmethod
    def load(cls, path: str | os.PathLike, name: str = "") -> QuantizedLinear:
        """The module `name` of a safetensors file, as `save` and compressed-tensors ("pack-quantized", "int-quantized") write it.

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
        what = f"{os.fspath(path)}: {name or 'the module'}"
        return cls(*ct.compressed_tensors(*read(path, name), what, name))

    @classmethod
    def from_gguf(cls, path: str | os.PathLike, name: str, bias: ArrayLike | None = None) -> QuantizedLinear:
        """The Q4_0 tensor `name` of a GGUF file; needs the package gguf.

        Raises
        ------
        KeyError, ValueError
            If the file has no such tensor, or it is of another type.
        """
        return cls(gguf(path, name), bias)

    def save(self, path: str | os.PathLike, name: str = "") -> None:
        """Write a safetensors file with the names and the packing of compressed-tensors."""
        write(path, name, *self._tensors())

    def _tensors(self):
        return ct.as_compressed_tensors(self._stored(), self._bias, self._range)

    def __getstate__(self):
        return self.__dict__ | {"_made": {}}  # another process has other implementations

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return self._bits

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights, their scales and the bias."""
        held = [*vars(self._packed).values(), self._bias]
        held += [self._scale, self._zero] if self.bits == 8 else []
        return sum(x.nbytes for x in held if isinstance(x, np.ndarray))

    def dense(self) -> np.ndarray:
        """The dequantized weights, float32[n, k]."""
        return self._stored().dense()

    def _stored(self) -> Q8 | Q4:
        """The weights as they were given."""
        n, k = self.shape
        if self.bits == 4:
            codes, scale, zero = kernels.module("q4gemm").unpack(self._packed, n, k)
            return Q4(codes, scale, zero, self._packed.group)
        zero = np.zeros(n, np.int32) if self._zero is None else self._zero
        return Q8(kernels.module("qgemm").unpack(self._packed, n, k), self._scale, zero)

    def __repr__(self):
        (n, k), how = self.shape, "dynamic" if self._range is None else "static"
        group = f" in groups of {self._packed.group}" if self.bits == 4 else ""
        return f"QuantizedLinear({n} x {k}, {self.bits} bits{group}, {how})"

    def _product(self, x: np.ndarray, out: np.ndarray, m: int, num_threads: int | None) -> None:
        codes, scale, zero = self._rounded(x, m, num_threads)
        rows = out.reshape(m, self.shape[0])
        (self._product4 if self.bits == 4 else self._product8)(codes, scale, zero, rows, num_threads)

    def _product4(self, codes, scale, zero, out, num_threads) -> None:
        (m, k), n, w = codes.shape, self.shape[0], self._packed
        args = ffi.new("pcx_q4gemm_args *")
        args.m, args.lda, args.k, args.n, args.ldz, args.lds = m, k, k, n, int(zero.size > 1), int(scale.size > 1)
        args.a, args.azp, args.ascale = address(codes, "uint8_t *"), address(zero, "int32_t *"), address(scale)
        args.w, args.group, args.zero = address(w.w, "uint8_t *"), w.group, address(w.zero, "uint8_t *")
        args.st, args.scale = lib.PCX_F16 if w.scale.dtype == np.float16 else lib.PCX_F32, address(w.scale, "void *")
        args.colsum, args.bias, args.output.act_params = address(w.colsum), address(self._bias), address(NONE)
        args.ldo, args.ot, args.out = n, lib.PCX_F32, address(out, "void *")
        run("q4gemm", args, num_threads, m * n * k)

    def _product8(self, codes, scale, zero, out, num_threads) -> None:
        """out[m, n] from codes; scales of rows and the bias are applied to the exact sums."""
        (m, k), n = codes.shape, self.shape[0]
        args = ffi.new("pcx_qgemm_args *")
        args.m, args.lda, args.k, args.n, args.ldz = m, k, k, n, int(zero.size > 1)
        args.a, args.azp = address(codes, "uint8_t *"), address(zero, "int32_t *")
        args.w, args.colsum = address(self._packed.w, "int8_t *"), address(self._packed.colsum, "int32_t *")
        args.wzp = address(self._zero, "int32_t *")
        args.tail.scale, args.tail.output.act_params = address(self._scale), address(NONE)
        args.ldo, args.ot, args.out = n, lib.PCX_F32, address(out, "void *")
        args.prepared = self._prepared(args)
        run("qgemm", args, num_threads, m * n * k)
        out *= scale.reshape(-1, 1)
        if self._bias is not None:
            out += self._bias

    def _prepared(self, args):
        """What the selected implementation prepares from the weights, once per implementation."""
        kernel = lib.pcx_kernel_named(b"qgemm")
        impl = lib.pcx_select(kernel, call_mask(), args)
        if not impl.prepare:
            return ffi.NULL
        key = int(ffi.cast("uintptr_t", impl))
        if key not in self._made:
            made = aligned((max(impl.prepared(args), 1),), np.uint8)
            impl.prepare(args, ffi.from_buffer(made))
            self._made[key] = made
        return address(self._made[key], "void *")

    def _rounded(self, x: np.ndarray, m: int, num_threads):
        """(codes uint8[m, k], scale float32, zero int32) of the input, one of each for all rows or for each."""
        k = self.shape[1]
        codes = np.empty((m, k), np.uint8)
        if self._range is not None:
            scale, zero = self._range
            args = ffi.new("pcx_quantize_args *")
            args.outer = args.c = 1
            args.inner, args.x, args.scale, args.zero = m * k, address(x), address(scale), address(zero, "int32_t *")
            args.clamp, args.ot, args.out = address(_CODES, "int32_t *"), lib.PCX_U8, address(codes, "void *")
            run("quantize", args, num_threads, m * k)
            return codes, scale, zero
        scale, zero = np.empty(m, np.float32), np.empty(m, np.int32)
        args = ffi.new("pcx_dynquant_args *")
        args.m, args.ldx, args.k, args.ldo, args.x = m, k, k, k, address(x)
        args.out, args.out_scale = address(codes, "uint8_t *"), address(scale)
        args.out_zero = address(zero, "int32_t *")
        run("dynquant", args, num_threads, m * k)
        return codes, scale, zero


_CODES = np.array([0, 255], np.int32)


def _grid(input_range: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The scale float32[1] and the zero point int32[1] of uint8 codes over a range, to which 0 is added."""
    try:
        low, high = (float(x) for x in input_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not -MAX_RANGE <= low <= high <= MAX_RANGE:
        raise ValueError(f"QuantizedLinear: input_range must be (min, max), got {input_range!r}")
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255) or np.float32(1)
    return np.array([scale]), np.array([np.rint(-low / scale)], np.int32)
