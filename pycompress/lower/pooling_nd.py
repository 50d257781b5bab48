"""Pools over any number of dimensions, axis by axis; LpPool; the places of maxima."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .arithmetic import ADD, MUL, POW
from .context import Lowering
from .convolution import extent
from .emit import fill
from .indexing import line, steps_of
from .node import Node
from .registry import operator
from .values import Value
from .whole_numbers import GREATER, chosen, combined, compared

MAX, AVERAGE, AVERAGE_PADDED = range(3)  # as in kernels/pool.py
ABS, SQRT = 12, 10  # as in kernels/unary.py


@dataclass(frozen=True)
class Along:
    """The windows along one axis of `size` cells."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int

    def cells(self) -> int | np.ndarray:
        """How many cells of the padded axis each window has; one number where they are all alike."""
        first = np.arange(self.out)[:, None] * self.stride + np.arange(self.kernel) * self.dilation
        counts = (first < self.size + self.before + self.after).sum(1)
        return int(counts[0]) if (counts == counts[0]).all() else counts


def windows(node: Node, shape: tuple[int, ...], kernel: list[int] | None = None) -> list[Along]:
    """The windows over images of `shape`, N,C,..., by axis: of a pool, or of a convolution by a `kernel`."""
    sizes, rank = shape[2:], len(shape) - 2
    if rank < 1:
        node.refuse(f"works on at least one spatial dimension, got shape {shape}")
    ceil = node.int("ceil_mode", 0, allowed=(0, 1)) if kernel is None else 0
    kernel = node.ints("kernel_shape", length=rank, minimum=1) if kernel is None else kernel
    strides, dilations = (node.ints(name, [1] * rank, length=rank, minimum=1) for name in ("strides", "dilations"))
    pads = node.ints("pads", [0] * 2 * rank, length=2 * rank, minimum=0)
    auto = node.string("auto_pad", "NOTSET", allowed=("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"))
    found = []
    for i, (size, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations)):
        before, after = (pads[i], pads[i + rank]) if auto == "NOTSET" else (0, 0)
        if auto.startswith("SAME"):
            total = max(0, (-(-size // s) - 1) * s + d * (k - 1) + 1 - size)
            before, after = (total // 2, total - total // 2)[:: 1 if auto == "SAME_UPPER" else -1]
        count = extent(size, k, s, d, before, after, bool(ceil))
        if count < 1:
            node.refuse(f"the window {kernel} does not fit into shape {shape}")
        found.append(Along(size, k, s, d, before, after, count))
    return found


def pooled(ctx: Lowering, x: np.ndarray, axes: list[Along], mode: int) -> np.ndarray:
    """Windows are boxes, so their maximum or mean is that of their lines, axis by axis."""
    data = ctx.contiguous(np.moveaxis(x, 1, -1))
    for i in reversed(range(len(axes))):
        a, shape = axes[i], data.shape
        made = (*shape[: i + 1], a.out, *shape[i + 2 :])
        outer, inner = math.prod(shape[: i + 1]), math.prod(shape[i + 2 : -1])
        out = ctx.new(made)
        ctx.step(
            "pool", x=data.reshape(outer, a.size, inner, shape[-1]), mode=mode, kh=a.kernel, kw=1, sh=a.stride, sw=1,
            dh=a.dilation, dw=1, pt=a.before, pl=0, pb=a.after, pr=0, out=out.reshape(outer, a.out, inner, shape[-1]),
            reason=f"pool along axis {i + 2}",
        )  # fmt: skip
        data = out
    return np.moveaxis(data, -1, 1)


def places(ctx: Lowering, x: np.ndarray, axes: list[Along], columns: bool) -> Value:
    """Where in `x` the maximum of each window stands, counted through all of it; `columns`: down the columns first."""
    rank, sizes = len(axes), [a.size for a in axes]
    padded = ctx.new((*x.shape[:2], *(_padded(a) for a in axes)))
    fill(ctx, padded, -np.inf)
    ctx.copy(x, padded[(..., *(slice(a.before, a.before + a.size) for a in axes))])
    steps = steps_of(sizes[::-1])[::-1] if columns else steps_of(sizes)
    best = place = None
    for cell in np.ndindex(*(a.kernel for a in axes)):
        offsets = [a.dilation * t for a, t in zip(axes, cell)]
        view = padded[(..., *(slice(o, o + (a.out - 1) * a.stride + 1, a.stride) for a, o in zip(axes, offsets)))]
        at = np.int64(0)
        for k, (a, o) in enumerate(zip(axes, offsets)):  # places in the padding never win; they only have to be valid
            at = at + steps[k] * np.clip(o - a.before + a.stride * line(a.out, k, rank), 0, max(a.size - 1, 0))
        here, number = ctx.value(view), Value.constant(at)
        if best is None:
            best, place = here, Value.constant(np.broadcast_to(at, view.shape))
            continue
        better = compared(ctx, here, best, GREATER)
        best, place = chosen(ctx, better, here, best), chosen(ctx, better, number, place)
    images = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * rank) * math.prod(sizes)
    return combined(ctx, place, Value.constant(images), ADD)


def _padded(a: Along) -> int:
    """Cells of the axis with its padding, and beyond where the last window ends outside."""
    return max(a.size + a.before + a.after, (a.out - 1) * a.stride + (a.kernel - 1) * a.dilation + 1)


@operator("LpPool")
def lp_pool(ctx: Lowering, node: Node) -> Value:
    x, p = ctx.f32(node.input(0)), node.int("p", 2)
    if p < 1:
        node.refuse(f"= {p} must be positive", "p")
    axes = windows(node, x.shape)
    size = ctx.unary(x, ABS)
    powers = (
        size if p == 1 else ctx.binary(size, size, MUL) if p == 2 else ctx.binary(size, np.float32(p).reshape(()), POW)
    )
    mean = pooled(ctx, powers, axes, AVERAGE_PADDED)
    cells = np.float32(1)
    for k, a in enumerate(axes):
        counts = np.asarray(a.cells(), np.float32)
        cells = cells * (
            counts if counts.ndim == 0 else counts.reshape([-1 if i == k else 1 for i in range(len(axes))])
        )
    total = ctx.binary(mean, np.asarray(cells, np.float32), MUL)
    if p == 1:
        return ctx.value(total)
    return ctx.value(ctx.unary(total, SQRT) if p == 2 else ctx.binary(total, np.float32(1 / p).reshape(()), POW))


@operator("GlobalLpPool")
def global_lp_pool(ctx: Lowering, node: Node) -> Value:
    from .reduction import reduced

    x, p = ctx.f32(node.input(0)), node.int("p", 2, allowed=(1, 2))
    if x.ndim < 3:
        node.refuse(f"works on at least one spatial dimension, got shape {x.shape}")
    return ctx.value(reduced(ctx, x, range(2, x.ndim), 4 + p))  # L1 and L2 of kernels/reduce.py
