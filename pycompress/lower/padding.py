"""Pad: with a constant, with the edge, or with a reflection or repetition of the image."""

from __future__ import annotations

import numpy as np

from ..dtypes import word
from .constants import fits
from .context import Lowering, axis_shape
from .emit import fill, moved, pick
from .node import Node
from .registry import operator
from .values import Value

MODES = ("constant", "reflect", "edge", "wrap")


@operator("Pad")
def pad(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    rank = len(x.shape)
    mode = node.string("mode", "constant", allowed=MODES)
    if node.opset < 11:
        pads, value, axes = node.ints("pads"), node.float("value", 0.0), None
    else:
        pads, value = node.plan_time(1, "pads", required=True).reshape(-1).tolist(), node.plan_time(2, "constant_value")
        axes = node.plan_time(3, "axes")
        value = 0 if value is None or not value.size else value.reshape(()).item()
    axes = list(range(rank)) if axes is None else axes.reshape(-1).tolist()
    if (
        len(pads) != 2 * len(axes)
        or any(not -rank <= a < rank for a in axes)
        or len({a % rank for a in axes}) != len(axes)
    ):
        node.refuse(f"pads {pads} and axes {axes} do not fit shape {x.shape}")
    ends = {a % rank: (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    before, after = ([ends.get(i, (0, 0))[side] for i in range(rank)] for side in range(2))
    shape = [b + d + a for b, d, a in zip(before, x.shape, after)]
    if any(d < 0 for d in shape):
        node.refuse(f"pads {pads} take away more than shape {x.shape} has")
    ctx.tensor_bytes(shape, x.dtype)
    crop = tuple(slice(max(0, -b), d - max(0, -a)) for b, d, a in zip(before, x.shape, after))
    own_axis = None if x.quant is None or x.quant.block else lambda a: None if before[a] or after[a] else a
    if mode != "constant":
        for axis, (c, b, a) in enumerate(zip(crop, before, after)):
            if (b > 0 or a > 0) and max(c.stop - c.start, 0) < (2 if mode == "reflect" and b + a > 0 else 1):
                node.refuse(f"axis {axis} of shape {x.shape} is too small to pad with mode {mode!r}")
        return moved(ctx, x, lambda data: _mirrored(ctx, data[crop], before, after, mode), own_axis)
    if x.dtype == "i8" and x.data is not None and x.runtime:
        value = int(value) + 128
    q = x.quant
    if q is not None and x.data is None:
        if value != 0 or q.block or q.scale.size > 1 and own_axis(q.axis) is None:
            x, q = Value(x.dtype, x.shape, ctx.data(x), x.runtime), None
        else:  # the code of 0.0; per index of the axis if scales differ
            value = q.zero + (128 if q.value.biased else 0)
            value = int(value[0]) if q.scale.size == 1 else value.reshape(axis_shape(value, x.shape, q.axis))

    def filled(data: np.ndarray) -> np.ndarray:
        data = data[crop]
        if not any(b > 0 or a > 0 for b, a in zip(before, after)):
            return data
        inside = tuple(slice(max(0, b), max(0, b) + d) for b, d in zip(before, data.shape))
        if not ctx.is_runtime(data):
            fits(ctx, node, int(np.prod(shape, dtype=object)), data.itemsize)
            out = np.full(shape, value, data.dtype)
            out[inside] = data
            return out
        out = ctx.new(shape, word(data.dtype), like=data)
        if np.ndim(value):
            ctx.copy(np.broadcast_to(np.asarray(value, data.dtype), out.shape), out)
        else:
            fill(ctx, out, value)
        ctx.copy(data, out[inside])
        return out

    return moved(ctx, x, filled, own_axis)


def _mirrored(ctx: Lowering, data: np.ndarray, before, after, mode: str) -> np.ndarray:
    """`data` padded with its own rows: copies of the whole, and of the few rows at each end of an axis."""
    before, after = ([max(0, n) for n in side] for side in (before, after))
    axes = [axis for axis in range(data.ndim) if before[axis] or after[axis]]
    if not axes:
        return data
    shape = [b + d + a for b, d, a in zip(before, data.shape, after)]
    for axis in axes:
        ctx.rows_fit(shape[axis])
    if not ctx.is_runtime(data):
        return np.pad(data, list(zip(before, after)), mode=mode)
    out = ctx.new(shape, word(data.dtype), like=data)

    def place(part: np.ndarray, target: np.ndarray, rest: list[int]) -> None:
        if not rest:
            ctx.copy(part, target)
            return
        axis, *rest = rest
        size, b = part.shape[axis], before[axis]
        index = np.pad(np.arange(size), (b, after[axis]), mode=mode)
        for ends in (slice(0, b), slice(b, b + size), slice(b + size, None)):
            if index[ends].size:
                place(_rows(ctx, part, axis, index[ends]), target[(slice(None),) * axis + (ends,)], rest)

    place(data, out, axes)
    return out


def _rows(ctx: Lowering, x: np.ndarray, axis: int, index: np.ndarray) -> np.ndarray:
    """The rows `index` of `x` along `axis`; one row, repeated, is a view."""
    if (index != index[0]).any():
        return pick(ctx, x, axis, index)
    row = pick(ctx, x, axis, index[:1])
    return np.broadcast_to(row, [index.size if i == axis else d for i, d in enumerate(x.shape)])
