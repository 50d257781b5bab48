"""Sparse matrices of callers: CSR taken as it comes, checked in C, times dense arrays."""

from __future__ import annotations

from functools import cache

import numpy as np

from ._pcx import ffi, lib
from .cpu import cpu_mask, get_num_threads
from .kernels._spec import CODE, WORD

MOST = 2**31 - 2  # rows, columns and nonzeros
LARGEST_K = 1 << 16  # whose columns are 16 bits in csrmv


def spmm(A, X, out: np.ndarray | None = None, num_threads: int | None = None) -> np.ndarray:
    """A @ X for a sparse matrix A and a dense X.

    Parameters
    ----------
    A : scipy.sparse CSR or BSR array or matrix, or a tuple (indptr, indices, data, shape)
        M x K, float32 or float64, indices of int32 or int64, in any order; duplicates add.
    X : float32[K, N] or float64[K, N], or [K]
        Of A's type, C- or F-ordered or any other strides.
    out : array of A's type, [M, N] or [M], C-contiguous, optional
        Where to write; it must not overlap X.
    num_threads : int, optional
        By default ``pycompress.get_num_threads()``.

    Returns
    -------
    C-ordered array [M, N], or [M] for a vector. Of two columns and more, each sum runs in the order in which A stores a row's values.

    Raises
    ------
    TypeError, ValueError
        If a type or shape does not fit, or the CSR arrays are not those of an M x K matrix.
    """
    indptr, indices, data, (m, k) = csr(A)
    if not isinstance(X, np.ndarray) or X.dtype != data.dtype:
        got = X.dtype if isinstance(X, np.ndarray) else type(X).__name__
        raise TypeError(f"spmm: X must be an array of A's type, {data.dtype}, got {got}")
    if X.ndim not in (1, 2) or X.shape[0] != k:
        raise ValueError(f"spmm: X must have {k} rows, got shape {X.shape}")
    shape = (m, *X.shape[1:])
    if out is None:
        out = np.empty(shape, data.dtype)
    else:
        checked_out(out, shape, data.dtype, X, "spmm")
    x = X if X.ndim == 2 else X[:, None]
    size = x.itemsize
    if any(d > 1 and (s < 0 or s % size) for d, s in zip(x.shape, x.strides)) or not x.flags.aligned:
        x = np.array(x, order="C")
    n = x.shape[1]
    if n == 1 and data.dtype == np.float32 and k <= LARGEST_K:
        _vector(indptr, indices, data, np.ascontiguousarray(x[:, 0]), out, num_threads)
        return out
    args = ffi.new("pcx_csrmm_args *")
    args.n, args.nnz, args.k, args.m, args.t = m, len(indices), k, n, CODE[WORD[data.dtype.name]]
    args.rows, args.index = pointer("int32_t *", indptr), pointer("int32_t *", indices)
    args.w, args.x, args.out = pointer("void *", data), pointer("void *", x), pointer("void *", out)
    args.ldx = x.strides[0] // size if k > 1 else n
    args.incx = x.strides[1] // size if n > 1 else 1
    args.ldo = n
    run("csrmm", args, num_threads)
    return out


def _vector(indptr, indices, data, x, out, num_threads) -> None:
    """One column, which `csrmm` is not made for."""
    index, params = indices.astype(np.uint16), np.zeros(2, np.float32)
    args = ffi.new("pcx_csrmv_args *")
    args.k, args.n, args.nnz = len(x), out.shape[0], len(index)
    args.rows, args.index = pointer("int32_t *", indptr), pointer("uint16_t *", index)
    args.x, args.w, args.out, args.act_params = (pointer("float *", a) for a in (x, data, out, params))
    run("csrmv", args, num_threads)


def csr(A) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """(indptr int32, indices int32, data float32 or float64, shape) of a sparse matrix, safe for kernels to read.

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
        if getattr(A, "format", None) == "bsr":
            A = A.tocsr()
        if getattr(A, "format", None) != "csr":
            raise TypeError(f"A must be a CSR or BSR array of scipy.sparse, or a tuple, got {type(A).__name__}")
        indptr, indices, data, shape = A.indptr, A.indices, A.data, A.shape
    try:
        m, k = (int(d) for d in shape)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"A: shape must be two sizes, got {shape!r}") from None
    for name, x, kinds in (("indptr", indptr, ("int32", "int64")), ("indices", indices, ("int32", "int64")),
                           ("data", data, ("float32", "float64"))):  # fmt: skip
        if not isinstance(x, np.ndarray) or x.ndim != 1 or x.dtype.name not in kinds or not x.dtype.isnative:
            got = f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"A: {name} must be a vector of {' or '.join(kinds)}, got {got}")
    if not 0 <= m <= MOST or not 0 <= k <= MOST or len(indices) > MOST:
        raise ValueError(f"A: at most {MOST} rows, columns and values, got {m} x {k} with {len(indices)}")
    if len(indptr) != m + 1 or len(data) != len(indices):
        raise ValueError(
            f"A: {m} rows need {m + 1} numbers in indptr and as many indices as data, "
            f"got {len(indptr)}, {len(indices)} and {len(data)}"
        )
    if indptr.dtype != indices.dtype:
        indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    indptr, indices, data = (np.ascontiguousarray(x) for x in (indptr, indices, data))
    kind = CODE[WORD[indices.dtype.name]]
    if lib.pcx_csr_check(m, k, len(indices), kind, pointer("void *", indptr), pointer("void *", indices)):
        raise ValueError(f"A: indptr must rise from 0 to at most {len(indices)}, and every index be in [0, {k})")
    return indptr.astype(np.int32, copy=False), indices.astype(np.int32, copy=False), data, (m, k)


def pointer(kind: str, x: np.ndarray):
    """The address of an array for C."""
    return ffi.cast(kind, x.__array_interface__["data"][0])


def checked_out(out, shape, dtype, x: np.ndarray, what: str) -> None:
    """Raise unless `out` is a C-contiguous array of the shape and type that does not overlap `x`."""
    if not isinstance(out, np.ndarray) or out.dtype != dtype or out.shape != tuple(shape):
        got = f"{out.dtype}{list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"{what}: out must be {np.dtype(dtype)}{list(shape)}, got {got}")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError(f"{what}: out must be C-contiguous, aligned and writable")
    if np.may_share_memory(out, x):
        raise ValueError(f"{what}: out overlaps the input")


def run(kernel: str, args, num_threads: int | None = None) -> None:
    """One call of a kernel with checked arguments."""
    if num_threads is not None and (
        isinstance(num_threads, bool) or not isinstance(num_threads, int) or not 0 < num_threads <= 1024
    ):
        raise ValueError(f"num_threads must be an integer from 1 to 1024, got {num_threads!r}")
    threads = num_threads or get_num_threads()
    c = lib.pcx_kernel_named(kernel.encode())
    if lib.pcx_call(_pool(threads) if threads > 1 else ffi.NULL, c, lib.pcx_select(c, cpu_mask()), args):
        raise MemoryError(f"{kernel}: no memory for scratch")


@cache
def _pool(threads: int):
    """The pool of so many threads that calls without a session share."""
    pool = lib.pcx_threads_new(threads)
    if pool == ffi.NULL:
        raise MemoryError("no memory for threads")
    return ffi.gc(pool, lib.pcx_threads_free)
