"""Conv and ConvTranspose of three spatial dimensions, as of two: the layers that a window reads become channels of an image."""

from __future__ import annotations

import numpy as np

from ..dtypes import word
from .context import Lowering
from .convolution import check_groups, kernel_shape
from .emit import fill, moved, pick, to_shape
from .node import Node
from .pooling_nd import Along, windows
from .registry import OPERATORS
from .values import Value

GEOMETRY = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "output_padding", "output_shape")


def conv3d(ctx: Lowering, node: Node) -> Value:
    """N,C,D,H,W: each of the output's layers is an image, and so are the layers of the input that it reads, one on another."""
    x, w, bias = node.input(0, "X"), node.input(1, "W"), node.optional(2)
    kernel = list(kernel_shape(node, x, w))
    groups = node.int("group", 1)
    check_groups(node, groups, x.shape[1], w)
    deep, *flat = windows(node, x.shape, kernel)
    if deep.before or deep.after:
        pads = np.zeros((2, 5), np.int64)
        pads[:, 2] = deep.before, deep.after
        inputs = [x, Value.constant(pads.reshape(-1))]
        x = OPERATORS["", "Pad"](ctx, node.become("Pad", inputs, 18, without=(*GEOMETRY, "group")))
    images = moved(ctx, x, lambda data: _layers(ctx, data, deep, groups))
    scaled = w.quant is not None and not w.quant.block
    shape = (w.shape[0], kernel[0] * w.shape[1], *kernel[1:])
    weights = moved(
        ctx, w, lambda data: to_shape(ctx, data.swapaxes(1, 2), shape), lambda a: a if scaled and a == 0 else None
    )
    attributes = {
        "strides": [a.stride for a in flat],
        "dilations": [a.dilation for a in flat],
        "pads": [a.before for a in flat] + [a.after for a in flat],
    }
    y = OPERATORS["", "Conv"](ctx, node.become("Conv", [images, weights, bias], without=GEOMETRY, given=attributes))
    return _volumes(ctx, y, deep.out)


def conv_transpose3d(ctx: Lowering, node: Node, groups: int, kernel, geometry) -> Value:
    """As `conv3d`, on an input with layers of zeros between its layers, by the kernel's layers in reverse.

    `geometry`: strides, dilations, pads at the start and output sizes, each for three dimensions.
    """
    x, w, bias = node.input(0, "X"), ctx.f32(node.input(1, "W")), node.optional(2)
    deep, *flat = zip(kernel, *geometry)
    images = _layers(ctx, *_spaced(ctx, ctx.f32(x), *deep), groups)
    layers, per, (c, n) = kernel[0], w.shape[0] // groups, w.shape[:2]
    turned = pick(ctx, w, 2, np.arange(layers)[::-1]).reshape(groups, per, n, *kernel, copy=False)
    turned = turned.transpose(0, 3, 1, 2, 4, 5)
    weights = to_shape(ctx, turned, (c * layers, n, *kernel[1:]))
    ends = [s * (size - 1) + (k - 1) * d + 1 - b - o for size, (k, s, d, b, o) in zip(x.shape[3:], flat)]
    attributes = {
        "strides": [s for _, s, _, _, _ in flat],
        "dilations": [d for _, _, d, _, _ in flat],
        "pads": [b for _, _, _, b, _ in flat] + [max(0, e) for e in ends],
        "output_padding": [max(0, -e) for e in ends],
    }
    inputs = [ctx.value(images), ctx.value(weights), bias]
    y = OPERATORS["", "ConvTranspose"](ctx, node.become("ConvTranspose", inputs, without=GEOMETRY, given=attributes))
    return _volumes(ctx, y, deep[-1])


def _spaced(ctx: Lowering, x: np.ndarray, kernel: int, stride: int, dilation: int, before: int, count: int):
    """(x [n,c,d,h,w] with zeros between and around its layers, the windows of the `count` outputs in it)."""
    reach = (kernel - 1) * dilation
    first = reach - before  # where the first layer comes to stand; outside if it is negative
    size = count + reach
    windows = Along(size, kernel, 1, dilation, 0, 0, count)
    kept = [i for i in range(x.shape[2]) if 0 <= first + i * stride < size]
    if stride == 1 and len(kept) == size:
        return x[:, :, kept[0] : kept[-1] + 1], windows
    n, c, _, h, w = x.shape
    out = ctx.new((n, size, h, w, c)).transpose(0, 4, 1, 2, 3)
    fill(ctx, out, 0)
    if kept:
        at = [first + i * stride for i in kept]
        ctx.copy(x[:, :, kept[0] : kept[-1] + 1], out[:, :, at[0] : at[-1] + 1 : stride])
    return out, windows


def _volumes(ctx: Lowering, y: Value, layers: int) -> Value:
    """Images [n*layers,c,h,w] as [n,c,layers,h,w]."""
    data = to_shape(ctx, ctx.data(y), (y.shape[0] // layers, layers, *y.shape[1:]))
    return ctx.value(data.swapaxes(1, 2))


def _layers(ctx: Lowering, x: np.ndarray, deep: Along, groups: int) -> np.ndarray:
    """x [n,c,d,h,w] as images [n*out,kernel*c,h,w]; in each group, the channels of a layer follow those of the one before."""
    n, c, _, h, w = x.shape
    taps = [k * deep.dilation + np.arange(deep.out) * deep.stride for k in range(deep.kernel)]
    views = [x[:, :, t[0] : t[-1] + 1 : deep.stride].transpose(0, 2, 3, 4, 1) for t in taps]
    if len(views) == 1:
        return to_shape(ctx, views[0].transpose(0, 1, 4, 2, 3), (n * deep.out, c, h, w))
    shape = (n, deep.out, h, w, groups, deep.kernel, c // groups)
    ctx.tensor_bytes(shape, word(x.dtype))
    runtime = ctx.is_runtime(x)
    out = ctx.new(shape, word(x.dtype)) if runtime else np.empty(shape, x.dtype)
    for k, view in enumerate(views):
        part, target = view.reshape(*view.shape[:4], groups, c // groups, copy=False), out[..., k, :]
        if runtime:
            ctx.copy(part, target)
        else:
            target[...] = part
    return out.reshape(n * deep.out, h, w, deep.kernel * c).transpose(0, 3, 1, 2)
