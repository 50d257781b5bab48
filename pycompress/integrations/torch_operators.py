"""torch.library operators on the C kernels: ``torch.ops.pycompress.spmm`` and the products of the layers.

Weights are tensors, packed as the modules of ``pycompress.torch`` keep them. Each call is checked against the kernels' contracts,
and shapes are known to torch without running (``torch.export``, ``torch.compile``). There are no gradients: the operators are for
inference.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.library import custom_op

from .. import native
from ..sparse import spmm as sparse_product

_NONE = np.zeros(2, np.float32)  # parameters of an activation without parameters
_HALF = {torch.float16: "float16", torch.bfloat16: "bfloat16"}


def _array(x: Tensor | None) -> np.ndarray | None:
    """The memory of a tensor as an array."""
    return None if x is None else x.detach().numpy()


def _rows(x: Tensor, k: int, what: str) -> np.ndarray:
    """The rows [m, k] of an input float32[..., k]."""
    if x.dtype != torch.float32 or not x.dim() or x.shape[-1] != k:
        raise ValueError(f"pycompress::{what}: x must be float32[..., {k}], got {x.dtype} {list(x.shape)}")
    return _array(x.contiguous()).reshape(-1, k)


def _made(x: Tensor, n: int) -> tuple[Tensor, np.ndarray]:
    """(the output float32[..., n] for an input, the same as rows)."""
    out = torch.empty((*x.shape[:-1], n), dtype=torch.float32)
    return out, out.numpy().reshape(-1, n)


def _like(x: Tensor, n: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], n))


@custom_op("pycompress::spmm", mutates_args=(), device_types="cpu")
def spmm(crow: Tensor, column: Tensor, values: Tensor, rows: int, columns: int, x: Tensor) -> Tensor:
    """A @ x for a sparse matrix A [rows, columns] (crow_indices, col_indices, values) and x [columns, m] or [columns]."""
    matrix = (_array(crow), _array(column), _array(values), (rows, columns))
    return torch.from_numpy(sparse_product(matrix, _array(x)))


@spmm.register_fake
def _(crow, column, values, rows, columns, x):
    return x.new_empty((rows, *x.shape[1:]))


@custom_op("pycompress::sparse_linear", mutates_args=(), device_types="cpu")
def sparse_linear(x: Tensor, rows: Tensor, index: Tensor, w: Tensor, bias: Tensor | None, k: int) -> Tensor:
    """x W' + bias for a sparse W [n, k]: rows int32[n + 1], index int16[nnz] (the bits of uint16), w float32[nnz]."""
    a, n = _rows(x, k, "sparse_linear"), rows.shape[0] - 1
    out, y = _made(x, n)
    native.spmm(
        a=a, rows=_array(rows)[None], index=_array(index).view(np.uint16), w=_array(w), bias=_array(bias), act=0,
        act_params=_NONE, out=y,
    )  # fmt: skip
    return out


@sparse_linear.register_fake
def _(x, rows, index, w, bias, k):
    return _like(x, rows.shape[0] - 1)


@custom_op("pycompress::half_linear", mutates_args=(), device_types="cpu")
def half_linear(x: Tensor, w: Tensor, bias: Tensor | None, n: int) -> Tensor:
    """x W' + bias for W packed by ``kernels.hgemm``: float16 or bfloat16 [ceil(n/16), k, 16]."""
    if w.dtype not in _HALF:
        raise ValueError(f"pycompress::half_linear: w must be float16 or bfloat16, got {w.dtype}")
    if w.dtype == torch.bfloat16:
        import ml_dtypes

        weights = w.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        weights = _array(w)
    a = _rows(x, w.shape[1], "half_linear")
    out, y = _made(x, n)
    native.hgemm(a=a, w=weights, bias=_array(bias), act=0, act_params=_NONE, out=y)
    return out


@half_linear.register_fake
def _(x, w, bias, n):
    return _like(x, n)


@custom_op("pycompress::lowrank_linear", mutates_args=(), device_types="cpu")
def lowrank_linear(x: Tensor, u: Tensor, v: Tensor, bias: Tensor | None, n: int) -> Tensor:
    """x U' V' + bias for U [r, k] and V [n, r], both packed by ``kernels.sgemm``."""
    a = _rows(x, u.shape[1], "lowrank_linear")
    out, y = _made(x, n)
    native.lowrank(
        a=a, u=_array(u), v=_array(v), mid_params=_NONE, bias=_array(bias), act=0, act_params=_NONE, out=y
    )  # fmt: skip
    return out


@lowrank_linear.register_fake
def _(x, u, v, bias, n):
    return _like(x, n)


def _rounded(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows as uint8 codes, each over its own range, with scales and zero points."""
    codes, scale, zero = np.empty(a.shape, np.uint8), np.empty(len(a), np.float32), np.empty(len(a), np.int32)
    native.dynquant(x=a, out=codes, out_scale=scale, out_zero=zero)
    return codes, scale, zero


@custom_op("pycompress::quantized_linear", mutates_args=(), device_types="cpu")
def quantized_linear(
    x: Tensor, w: Tensor, colsum: Tensor, zero: Tensor | None, scale: Tensor, bias: Tensor | None, k: int
) -> Tensor:
    """x W' + bias for W of 8 bits packed by ``kernels.qgemm``, with a scale and perhaps a zero point per row; x is rounded."""
    codes, scales, zeros = _rounded(_rows(x, k, "quantized_linear"))
    out, y = _made(x, scale.shape[0])
    native.qgemm(
        a=codes, azp=zeros, w=_array(w), colsum=_array(colsum), wzp=_array(zero), scale=_array(scale), act=0,
        act_params=_NONE, out=y,
    )  # fmt: skip
    y *= scales[:, None]
    if bias is not None:
        y += _array(bias)
    return out


@quantized_linear.register_fake
def _(x, w, colsum, zero, scale, bias, k):
    return _like(x, scale.shape[0])


@custom_op("pycompress::int4_linear", mutates_args=(), device_types="cpu")
def int4_linear(
    x: Tensor, w: Tensor, scale: Tensor, zero: Tensor | None, colsum: Tensor, bias: Tensor | None, group: int, k: int
) -> Tensor:
    """x W' + bias for W of 4 bits packed by ``kernels.q4gemm``, with scales for groups of columns; x is rounded to 8 bits."""
    codes, scales, zeros = _rounded(_rows(x, k, "int4_linear"))
    out, y = _made(x, colsum.shape[0])
    native.q4gemm(
        a=codes, azp=zeros, ascale=scales, w=_array(w), group=group, scale=_array(scale), zero=_array(zero),
        colsum=_array(colsum), bias=_array(bias), act=0, act_params=_NONE, out=y,
    )  # fmt: skip
    return out


@int4_linear.register_fake
def _(x, w, scale, zero, colsum, bias, group, k):
    return _like(x, colsum.shape[0])
