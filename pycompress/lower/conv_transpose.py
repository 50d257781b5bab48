"""ConvTranspose: a convolution for each phase of the strides; then the phases are interleaved.

The outputs whose coordinates have one remainder modulo the strides are a phase. They all meet the same taps of the
kernel at neighbouring pixels of the image: an ordinary convolution of stride 1, by weights rotated by 180 degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby, product

import numpy as np

from .context import Lowering
from .convolution import Window, conv_steps, kernel_shape, lift, spatial
from .emit import fill, pick
from .node import Node
from .registry import operator
from .values import Value


@operator("ConvTranspose")
def conv_transpose(ctx: Lowering, node: Node) -> Value:
    x, w, bias = node.input(0, "X"), node.input(1, "W"), node.optional(2)
    kernel = kernel_shape(node, x, w)
    deep = len(x.shape) == 5
    n, c, h, wide = x.shape[:2] + x.shape[3:] if deep else spatial(node, x)
    groups = node.int("group", 1)
    if groups < 1 or c != w.shape[0] or c % groups:
        node.refuse(f"= {groups} does not fit {c} channels and weights {w.shape}", "group")
    outputs = w.shape[1] * groups
    strides, dilations, before, sizes = geometry = _geometry(node, kernel, x.shape[2:])
    offset = None
    if bias is not None:
        if bias.shape != (outputs,):
            node.refuse(f"bias {bias.shape} does not fit {outputs} outputs")
        offset = ctx.contiguous(ctx.f32(bias))
    if deep:
        from .volumes import conv_transpose3d  # it comes back here with images

        return conv_transpose3d(ctx, node, groups, kernel, geometry)
    axes = [
        [_phase(r, k, s, d, p) for r in range(min(s, size))]
        for k, s, d, p, size in zip(kernel, strides, dilations, before, sizes)
    ]
    image, rotated = ctx.nhwc(lift(ctx.f32(x))), _rotated(ctx, ctx.f32(w), groups)
    parts = ctx.new(
        (n, *(-(-size // len(axis)) for size, axis in zip(sizes, axes)), math.prod(map(len, axes)) * outputs)
    )
    _convolve(ctx, image, rotated, offset, axes, groups, parts)
    logical = _interleaved(ctx, parts, [len(axis) for axis in axes], sizes).transpose(0, 3, 1, 2)
    return ctx.value(logical.reshape(n, outputs, sizes[1]) if len(x.shape) == 3 else logical)


def _geometry(node: Node, kernel, image):
    """(strides, dilations, pads at the start, output sizes), each for two dimensions, or three."""
    rank = len(image)
    one = [1] * (2 - rank)
    strides = node.ints("strides", [1] * rank, length=rank, minimum=1)
    dilations = node.ints("dilations", [1] * rank, length=rank, minimum=1)
    extra = node.ints("output_padding", [0] * rank, length=rank, minimum=0)
    pads = node.ints("pads", [0] * 2 * rank, length=2 * rank, minimum=0)
    wanted = node.ints("output_shape", None)
    auto = node.string("auto_pad", "NOTSET", allowed=("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"))
    if wanted is not None and len(wanted) not in (rank, rank + 2):
        node.refuse(f"= {wanted} must have {rank} values", "output_shape")
    before, sizes = [], []
    for i, (size, k) in enumerate(zip(image, kernel[-rank:])):
        full = strides[i] * (size - 1) + extra[i] + (k - 1) * dilations[i] + 1
        target = wanted[-rank:][i] if wanted is not None else size * strides[i]
        if wanted is None and not auto.startswith("SAME"):
            both = (pads[i], pads[rank + i]) if auto == "NOTSET" else (0, 0)
        else:
            total = max(0, full - target)
            small, large = total // 2, total - total // 2
            both = (small, large) if auto == "SAME_UPPER" else (large, small)
            full = max(full, target)
        before.append(both[0])
        sizes.append(full - sum(both))
    if any(s < 1 for s in sizes):
        node.refuse(f"makes an output of extents {sizes}")
    return one + strides, one + dilations, [0] * len(one) + before, one + sizes


@dataclass(frozen=True)
class _Phase:
    """A phase along one axis: output i of it is the sum over t of image[i + t * dilation - pad] * rotated[taps][t]."""

    taps: slice
    count: int
    dilation: int
    pad: int


def _phase(r: int, kernel: int, stride: int, dilation: int, before: int) -> _Phase:
    """The outputs r, r + stride, ...: output o meets tap k at pixel (o + before - k * dilation) / stride, if that is whole."""
    common = math.gcd(stride, dilation)
    step = stride // common
    first = next((k for k in range(min(step, kernel)) if (r + before - k * dilation) % stride == 0), kernel)
    count = -(-(kernel - first) // step)
    last = first + (count - 1) * step
    pixels = (r + before - first * dilation) // stride  # by which the first tap's pixel lies after the output's
    return _Phase(slice(kernel - 1 - last, kernel - first, step), count, dilation // common,
                  (count - 1) * (dilation // common) - pixels)  # fmt: skip


def _convolve(ctx: Lowering, x, w, bias, axes: list[list[_Phase]], groups: int, out) -> None:
    """All phases of `out` [n,h,w,phases*outputs] from x [n,h,w,c]; neighbours with the same window in one step."""
    outputs, done = len(w), 0

    def window(pair):  # outputs of several groups are not neighbours
        return pair if groups > 1 else [(p.count, p.dilation, p.pad) for p in pair]

    for _, same in groupby(product(*axes), window):
        pairs = list(same)
        y, x_ = pairs[0]
        target = out[..., done * outputs : (done + len(pairs)) * outputs]
        done += len(pairs)
        if not y.count or not x_.count:
            _constant(ctx, bias, target)
            continue
        crop = [max(0, -p.pad) for p in (y, x_)]
        image = ctx.contiguous(x[:, crop[0] :, crop[1] :]) if any(crop) else x
        win = Window(y.count, x_.count, 1, 1, y.dilation, x_.dilation, max(0, y.pad), max(0, x_.pad), 0, 0)
        parts = [w[:, :, a.taps, b.taps] for a, b in pairs]
        offset = bias if bias is None or len(pairs) == 1 else _joined(ctx, [bias] * len(pairs))
        conv_steps(ctx, image, _joined(ctx, parts), offset, win, groups, target)


def _joined(ctx: Lowering, parts: list[np.ndarray]) -> np.ndarray:
    """`parts` one after the other along their first axis."""
    if len(parts) == 1:
        return parts[0]
    if not ctx.is_runtime(parts[0]):
        return np.concatenate(parts)
    out = ctx.new((len(parts) * len(parts[0]), *parts[0].shape[1:]))
    for i, part in enumerate(parts):
        ctx.copy(part, out[i * len(part) : (i + 1) * len(part)])
    return out


def _constant(ctx: Lowering, bias, target: np.ndarray) -> None:
    """Outputs that meet no tap."""
    if bias is None:
        fill(ctx, target, 0)
    else:
        size = target.shape[-1] // len(bias)
        split = target.reshape(*target.shape[:-1], size, len(bias), copy=False)
        ctx.copy(np.broadcast_to(bias, split.shape), split)


def _interleaved(ctx: Lowering, parts: np.ndarray, strides: list[int], sizes: list[int]) -> np.ndarray:
    """[n,h,w,outputs] from the phases [n,h/sy,w/sx,sy*sx*outputs]; the last ones may lie beyond the image."""
    (n, h, w, c), (sy, sx), (high, wide) = parts.shape, strides, sizes
    outputs = c // (sy * sx)
    if sy == 1:  # they are in order
        return parts.reshape(n, h, w * sx, outputs, copy=False)[:, :, :wide]
    phases = parts.reshape(n, h, w, sy, sx, outputs, copy=False).transpose(0, 1, 3, 2, 4, 5)
    out = ctx.new((n, high, wide, outputs))
    for y, lines in _whole_and_rest(high, sy):
        for x, pixels in _whole_and_rest(wide, sx):
            source = phases[:, y // sy : -(-(y + lines) // sy), :lines, x // sx : -(-(x + pixels) // sx), :pixels]
            ctx.copy(source, out[:, y : y + lines, x : x + pixels].reshape(source.shape, copy=False))
    return out


def _whole_and_rest(size: int, stride: int) -> list[tuple[int, int]]:
    """(first, count) of the outputs in whole strides, and of those in a last one that is cut off."""
    whole = size // stride * stride
    return [(first, count) for first, count in ((0, whole), (whole, size - whole)) if count]


def _rotated(ctx: Lowering, w: np.ndarray, groups: int) -> np.ndarray:
    """Weights [c,outputs/groups,kh,kw] as those of a convolution, [outputs,c/groups,kh,kw], rotated by 180 degrees."""
    c, per_group, kh, kw = lift(w).shape
    w = lift(w)
    if ctx.is_runtime(w):
        w = pick(ctx, pick(ctx, w, 2, np.arange(kh)[::-1]), 3, np.arange(kw)[::-1])
        w = ctx.contiguous(w)
    else:
        w = w[:, :, ::-1, ::-1]
    split = w.reshape(groups, c // groups, per_group, kh, kw).transpose(0, 2, 1, 3, 4)
    shape = (groups * per_group, c // groups, kh, kw)
    return ctx.contiguous(split).reshape(shape) if ctx.is_runtime(w) else split.reshape(shape)
