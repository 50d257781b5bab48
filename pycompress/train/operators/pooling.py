"""Averages, sums and extremes over axes and windows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...lower.convolution import extent
from .layers import ends, padded
from .registry import numbers, operator

AVERAGE = (None, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
MAXIMUM = (None, F.max_pool1d, F.max_pool2d, F.max_pool3d)


@operator("GlobalAveragePool")
def global_average_pool(x) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(x) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def _reduction(name: str, over: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> None:
    """Registers the operator `name`: `over` takes a tensor, axes, and whether they stay."""

    @operator(name)
    def reduce(x, chosen=None, *, axes=None, keepdims=1, noop_with_empty_axes=0) -> Tensor:
        axes = numbers(chosen) if chosen is not None else axes
        if not axes:
            return x if noop_with_empty_axes else over(x, tuple(range(x.ndim)), bool(keepdims))
        return over(x, tuple(axes), bool(keepdims))


_reduction("ReduceMean", lambda x, axes, keep: x.mean(axes, keepdim=keep))
_reduction("ReduceSum", lambda x, axes, keep: x.sum(axes, keepdim=keep))
_reduction("ReduceMax", lambda x, axes, keep: x.amax(axes, keepdim=keep))
_reduction("ReduceMin", lambda x, axes, keep: x.amin(axes, keepdim=keep))
_reduction("ReduceL1", lambda x, axes, keep: x.abs().sum(axes, keepdim=keep))
_reduction("ReduceL2", lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep))


@operator("AveragePool")
def average_pool(
    x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, pads=None, strides=None
) -> Tensor:
    rank = len(kernel_shape)
    if any(d != 1 for d in dilations or ()):
        raise NotImplementedError("AveragePool: training does not support dilations")
    strides, dilations = strides or [1] * rank, [1] * rank
    first, last = ends(x, kernel_shape, strides, dilations, pads, auto_pad)
    pool, ceil = AVERAGE[rank], bool(ceil_mode)
    if first == last and all(2 * n <= k for n, k in zip(first, kernel_shape)):
        return pool(x, kernel_shape, strides, first, ceil, bool(count_include_pad))

    def padded_mean(x: Tensor) -> Tensor:
        means = pool(padded(x, first, last), kernel_shape, strides, 0, ceil)
        return begun(means, x, kernel_shape, strides, dilations, first, last, ceil)

    return padded_mean(x) if count_include_pad else padded_mean(x) / padded_mean(torch.ones_like(x[:1, :1]))


@operator("MaxPool")
def max_pool(
    x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, pads=None, storage_order=0, strides=None
) -> Tensor:
    rank = len(kernel_shape)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    first, last = ends(x, kernel_shape, strides, dilations, pads, auto_pad)
    y = MAXIMUM[rank](padded(x, first, last, -math.inf), kernel_shape, strides, 0, dilations, bool(ceil_mode))
    return begun(y, x, kernel_shape, strides, dilations, first, last, bool(ceil_mode))


def begun(y: Tensor, x: Tensor, kernel, strides, dilations, first, last, ceil: bool) -> Tensor:
    """`y` without windows that begin in the padding behind `x`: torch, which was given padded images, has them with `ceil`."""
    for i, geometry in enumerate(zip(x.shape[2:], kernel, strides, dilations, first, last)):
        y = y.narrow(i + 2, 0, extent(*geometry, ceil))
    return y
