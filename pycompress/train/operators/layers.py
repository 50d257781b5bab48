"""Layers with weights, and normalizations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import operator

CONV = (None, F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (None, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def ends(x: Tensor, kernel: Sequence[int], strides, dilations, pads, auto_pad: str) -> tuple[list[int], list[int]]:
    """The cells that are added before and after each spatial axis."""
    rank = len(kernel)
    if auto_pad in ("NOTSET", ""):
        pads = list(pads or [0] * 2 * rank)
        return pads[:rank], pads[rank:]
    if auto_pad == "VALID":
        return [0] * rank, [0] * rank
    total = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations):
        total.append(max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0))
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)


def padded(x: Tensor, first: Sequence[int], last: Sequence[int], value: float = 0.0) -> Tensor:
    """`x` with cells of `value` around its spatial axes."""
    if not any((*first, *last)):
        return x
    return F.pad(x, [n for pair in zip(reversed(first), reversed(last)) for n in pair], value=value)


@operator("Conv")
def conv(
    x, w, bias=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None
) -> Tensor:
    rank = w.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    first, last = ends(x, w.shape[2:], strides, dilations, pads, auto_pad)
    if first != last:
        x, first = padded(x, first, last), [0] * rank
    if rank == 2 and w.stride() != (w[0].numel(), 1, w.shape[3] * w.shape[1], w.shape[1]):
        w = w.clone(memory_format=torch.channels_last)  # masked or rounded: their order decides how torch computes
    return CONV[rank](x, w, bias, strides, first, dilations, group)


@operator("ConvTranspose")
def conv_transpose(
    x, w, bias=None, *, dilations=None, group=1, kernel_shape=None, output_padding=None, pads=None, strides=None
) -> Tensor:
    rank = w.ndim - 2
    strides, dilations, more = strides or [1] * rank, dilations or [1] * rank, output_padding or [0] * rank
    first, last = (pads or [0] * 2 * rank)[:rank], (pads or [0] * 2 * rank)[rank:]
    if first == last:
        return TRANSPOSED[rank](x, w, bias, strides, first, more, group, dilations)
    y = TRANSPOSED[rank](x, w, bias, strides, 0, more, group, dilations)
    for axis, (before, after) in enumerate(zip(first, last), 2):
        y = y.narrow(axis, before, y.shape[axis] - before - after)
    return y


@operator("BatchNormalization")
def batch_normalization(
    x, gamma, beta, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0, training=False
) -> Tensor:
    return F.batch_norm(x, mean, var, gamma, beta, training, 1 - momentum, epsilon)


@operator("LayerNormalization")
def layer_normalization(x, gamma, beta=None, *, axis=-1, epsilon=1e-5, stash_type=1) -> Tensor:
    shape = x.shape[axis:]
    if gamma.shape == shape and (beta is None or beta.shape == shape):
        return F.layer_norm(x, shape, gamma, beta, epsilon)
    y = F.layer_norm(x, shape, None, None, epsilon) * gamma
    return y if beta is None else y + beta


@operator("InstanceNormalization")
def instance_normalization(x, gamma, beta, *, epsilon=1e-5) -> Tensor:
    return F.group_norm(x, x.shape[1], gamma, beta, epsilon)


@operator("GroupNormalization")
def group_normalization(x, gamma, beta, *, num_groups, epsilon=1e-5, stash_type=1) -> Tensor:
    if len(gamma) != x.shape[1]:  # before opset 21 a number for each group
        gamma, beta = (p.repeat_interleave(x.shape[1] // num_groups) for p in (gamma, beta))
    return F.group_norm(x, num_groups, gamma, beta, epsilon)


@operator("Gemm")
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0) -> Tensor:
    a, b = a.T if transA else a, b if transB else b.T
    if alpha == 1 and (c is None or beta == 1 and c.ndim == 1 and len(c) == len(b)):
        return F.linear(a, b, c)
    y = F.linear(a, b) * alpha
    return y if c is None else y + c * beta


@operator("MatMul")
def matmul(a, b) -> Tensor:
    return a @ b


@operator("Einsum")
def einsum(*x, equation) -> Tensor:
    return torch.einsum(equation, *x)
