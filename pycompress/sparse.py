"""Products of callers' sparse matrices (CSR in any order, checked in C) with dense arrays."""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import numpy as np

from ._pcx import ffi, lib
from .arrays import shared
from .cpu import call_mask, get_num_threads

MAX_SIZE = 2**31 - 2  # rows, columns and nonzeros
LITTLE = 1 << 18  # multiplications; fewer are done before other threads have woken up

# A call should cost a few microseconds, so types are looked up once, and compared as objects instead of by name.
_INTEGERS = {np.dtype(np.int32): lib.PCX_I32, np.dtype(np.int64): lib.PCX_I64}
_REALS = {np.dtype(np.float32): lib.PCX_F32, np.dtype(np.float64): lib.PCX_F64}
_FLOAT = np.dtype(np.float32)
_CSRMM, _INTS, _ANY = ffi.typeof("pcx_csrmm_args *"), ffi.typeof("int32_t *"), ffi.typeof("void *")


class SparseArray(Protocol):
    """An array or matrix of scipy.sparse, of any format."""

    @property
    def format(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def tocsr(self) -> Any: ...


CSR = SparseArray | tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]


def spmm(A: CSR, X: np.ndarray, out: np.ndarray | None = None, num_threads: int | None = None) -> np.ndarray:
    """A @ X for a sparse matrix A and a dense X.

    Parameters
    ----------
    A : array or matrix of scipy.sparse, or a tuple (indptr, indices, data, shape) in CSR
        M x K, in any format: others than CSR are converted first, in each call. Indices of int32 or int64, in any order;
        duplicates add.
    X : array [K, N] or [K]
        C- or F-ordered or any other strides; NumPy's, or an array with ``__dlpack__`` or a buffer, whose memory is read in place.
    out : array [M, N] or [M], C-contiguous, optional
        Where to write; it must not overlap X or A.
    num_threads : int, optional
        Default: ``pycompress.get_num_threads()``, or 1 for small products.

    Returns
    -------
    numpy.ndarray
        C-ordered [M, N], or [M] for a vector, or `out`. Two float32 operands give float32, all others float64, as far as NumPy
        would give these two; operands of other types are converted, which copies them. With two or more columns each sum runs in the order of A's stored values.

    Raises
    ------
    TypeError, ValueError
        If a type or shape does not fit (complex numbers, say), or the CSR arrays are not those of an M x K matrix.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> indptr, indices = np.array([0, 1, 2], np.int32), np.array([0, 2], np.int32)  # [[2, 0, 0], [0, 0, 3]]
    >>> pycompress.spmm((indptr, indices, np.array([2.0, 3.0]), (2, 3)), np.ones((3, 2)))
    array([[2., 2.],
           [3., 3.]])
    """
    X = shared(X, "spmm: X")
    indptr, indices, data, (m, k) = csr(A, X.dtype)
    if X.dtype != data.dtype:
        X = X.astype(data.dtype)
    if X.ndim not in (1, 2) or X.shape[0] != k:
        raise ValueError(f"spmm: X must have {k} rows, got shape {X.shape}")
    shape = (m, *X.shape[1:])
    if out is None:
        result = y = np.empty(shape, data.dtype)
    else:
        result, y = out, shared(out, "spmm: out")
        checked_out(y, shape, data.dtype, (X, indptr, indices, data), "spmm")
    n = X.shape[1] if X.ndim == 2 else 1
    if n == 1:  # its rows are then neighbours
        x, ldx, incx = straight(X.reshape(-1)), 1, 1
    else:
        x, (ldx, incx) = _strided(X)
    args = ffi.new(_CSRMM)
    args.n, args.nnz, args.k, args.m, args.t = m, len(indices), k, n, _REALS[data.dtype]
    args.rows, args.index = pointer(_INTS, indptr), pointer(_INTS, indices)
    args.w, args.x, args.out = pointer(_ANY, data), pointer(_ANY, x), pointer(_ANY, y)
    args.ldx, args.incx, args.ldo = ldx, incx, n
    run("csrmm", args, num_threads, len(indices) * n)
    return result


def _strided(X: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """(the matrix or a copy that C can walk, its row and column strides in elements)."""
    size, steps = X.itemsize, X.strides
    flags = X.flags
    if not flags.aligned or min(steps) < 0 or any(step % size for step in steps):
        X = np.array(X, order="C")
        steps = X.strides
    elif flags.c_contiguous or flags.f_contiguous:  # for one row NumPy may report any stride
        steps = (X.shape[1] * size, size) if flags.c_contiguous else (size, X.shape[0] * size)
    return X, (steps[0] // size, steps[1] // size)


def csr(A: CSR, other: np.dtype = _FLOAT) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """(indptr int32, indices int32, data float32 or float64, shape) of a sparse matrix, safe for kernels to read.

    The data have the type of a product with an array of type `other`.

    Raises
    ------
    TypeError, ValueError
        As `spmm`.
    """
    if isinstance(A, tuple):
        if len(A) != 4:
            raise ValueError(f"A must be (indptr, indices, data, shape), got {len(A)} items")
        indptr, indices, data, shape = A
    else:
        form = getattr(A, "format", None)
        if not isinstance(form, str) or not hasattr(A, "tocsr"):
            raise TypeError(f"A must be an array or matrix of scipy.sparse, or a tuple, got {type(A).__name__}")
        if len(A.shape) != 2:
            raise ValueError(f"A must be a matrix, got shape {A.shape}")
        if form != "csr":
            A = A.tocsr()
        indptr, indices, data, shape = A.indptr, A.indices, A.data, A.shape
    try:
        m, k = (int(d) for d in shape)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"A: shape must be two sizes, got {shape!r}") from None
    _vector("indptr", indptr, _INTEGERS)
    _vector("indices", indices, _INTEGERS)
    data = _real(data, other)
    if not 0 <= m <= MAX_SIZE or not 0 <= k <= MAX_SIZE or len(indices) > MAX_SIZE:
        raise ValueError(f"A: at most {MAX_SIZE} rows, columns and values, got {m} x {k} with {len(indices)}")
    if len(indptr) != m + 1 or len(data) != len(indices):
        raise ValueError(
            f"A: {m} rows need {m + 1} numbers in indptr and as many indices as data, "
            f"got {len(indptr)}, {len(indices)} and {len(data)}"
        )
    if indptr.dtype != indices.dtype:
        indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    indptr, indices, data = straight(indptr), straight(indices), straight(data)
    kind = _INTEGERS[
        indices.dtype
    ]  # csrmm keeps to its arrays even where a caller's thread changes these after the check
    if lib.pcx_csr_check(m, k, len(indices), kind, pointer(_ANY, indptr), pointer(_ANY, indices)):
        raise ValueError(f"A: indptr must rise from 0 to at most {len(indices)}, and every index be in [0, {k})")
    if kind == lib.PCX_I64:
        indptr, indices = indptr.astype(np.int32), indices.astype(np.int32)
    return indptr, indices, data, (m, k)


def _real(data, other: np.dtype) -> np.ndarray:
    """The values of A in the type of its product with an array of type `other`."""
    if not isinstance(data, np.ndarray) or data.ndim != 1:
        raise TypeError(f"A: data must be a vector, got {type(data).__name__}")
    if data.dtype == other and data.dtype in _REALS:
        return data
    try:
        kind = np.result_type(data.dtype, other, np.float32)
    except TypeError:
        kind = None
    if kind not in _REALS or data.dtype.kind not in "biuf" or other.kind not in "biuf":
        raise TypeError(f"A of {data.dtype} and an array of {other}: their product is neither float32 nor float64")
    return data.astype(kind, copy=False)


def _vector(name: str, x, kinds) -> None:
    """Raise unless `x` is a vector of one of the types."""
    if not isinstance(x, np.ndarray) or x.ndim != 1 or x.dtype not in kinds:
        got = f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"A: {name} must be a vector of {' or '.join(map(str, kinds))}, got {got}")


def straight(x: np.ndarray) -> np.ndarray:
    """`x`, or a copy of it, C-contiguous and aligned to its elements."""
    flags = x.flags
    return x if flags.c_contiguous and flags.aligned else np.array(x, order="C")


def pointer(kind, x: np.ndarray):
    """The address of an array for C, as `kind`, a pointer type or its name."""
    try:
        return ffi.cast(kind, ffi.from_buffer(x))
    except ValueError:  # not contiguous; the other way takes seven times as long
        return ffi.cast(kind, x.__array_interface__["data"][0])


def checked_out(out, shape, dtype, read: tuple[np.ndarray, ...], what: str) -> None:
    """Raise unless `out` is a C-contiguous array of the shape and type that overlaps nothing that is read."""
    if not isinstance(out, np.ndarray) or out.dtype != dtype or out.shape != tuple(shape):
        got = f"{out.dtype}{list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"{what}: out must be {np.dtype(dtype)}{list(shape)}, got {got}")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError(f"{what}: out must be C-contiguous, aligned and writable")
    if any(np.may_share_memory(out, x) for x in read):
        raise ValueError(f"{what}: out overlaps what is read")


def run(kernel: str, args, num_threads: int | None = None, products: int = LITTLE) -> None:
    """One call of a kernel with checked arguments, by default on this thread alone if there is little to do."""
    if num_threads is not None and (
        isinstance(num_threads, bool) or not isinstance(num_threads, int) or not 0 < num_threads <= 1024
    ):
        raise ValueError(f"num_threads must be an integer from 1 to 1024, got {num_threads!r}")
    threads = num_threads or (1 if products < LITTLE else get_num_threads())
    c = _kernel(kernel)
    if lib.pcx_call(_pool(threads) if threads > 1 else ffi.NULL, c, lib.pcx_select(c, call_mask(), args), args):
        raise MemoryError(f"{kernel}: no memory for scratch")


@cache
def _kernel(name: str):
    return lib.pcx_kernel_named(name.encode())


@cache
def _pool(threads: int):
    """The pool of so many threads that calls without a session share."""
    pool = lib.pcx_threads_new(threads)
    if pool == ffi.NULL:
        raise MemoryError("no memory for threads")
    return ffi.gc(pool, lib.pcx_threads_free)
