"""ConvTranspose: zeros between the pixels, then a convolution with the weights rotated by 180 degrees."""

from __future__ import annotations

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
    n, c, h, wide = spatial(node, x)
    groups = node.int("group", 1)
    if groups < 1 or c != w.shape[0] or c % groups:
        node.refuse(f"= {groups} does not fit {c} channels and weights {w.shape}", "group")
    outputs = w.shape[1] * groups
    strides, dilations, before, sizes = _geometry(node, kernel, (h, wide)[4 - len(x.shape) :])
    offset = None
    if bias is not None:
        if bias.shape != (outputs,):
            node.refuse(f"bias {bias.shape} does not fit {outputs} outputs")
        offset = ctx.contiguous(ctx.f32(bias))
    image, pads = _spread(
        ctx, ctx.nhwc(lift(ctx.f32(x))), strides, [d * (k - 1) - p for d, k, p in zip(dilations, kernel, before)]
    )
    win = Window(*kernel, 1, 1, *dilations, *pads, 0, 0)  # the output's size determines the padding at the end
    out, logical = ctx.image((n, outputs, *sizes))
    conv_steps(ctx, image, _rotated(ctx, ctx.f32(w), groups), offset, win, groups, out)
    return ctx.value(logical.reshape(n, outputs, sizes[1]) if len(x.shape) == 3 else logical)


def _geometry(node: Node, kernel, image):
    """(strides, dilations, pads at the start, output sizes), each for two dimensions."""
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
    for i, (size, k) in enumerate(zip(image, kernel[2 - rank :])):
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


def _spread(ctx: Lowering, x: np.ndarray, strides, pads) -> tuple[np.ndarray, list[int]]:
    """`x` [n,h,w,c] with its pixels spaced by `strides`, zeros between, and padded; negative `pads` crop it."""
    if all(s == 1 for s in strides) and all(p >= 0 for p in pads):
        return x, pads
    cut = [max(0, -p) for p in pads]
    first = [-(-a // s) for a, s in zip(cut, strides)]  # the first pixel that is kept
    extents = [max(0, (d - 1) * s + 1 - a) for d, s, a in zip(x.shape[1:3], strides, cut)]
    out = ctx.new((x.shape[0], *extents, x.shape[3]))
    fill(ctx, out, 0)
    (fy, fx), (sy, sx), (cy, cx) = first, strides, cut
    inside = out[:, fy * sy - cy :: sy, fx * sx - cx :: sx]
    if inside.size:
        ctx.copy(x[:, fy:, fx:], inside)
    return out, [max(0, p) for p in pads]


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
