"""Reductions and softmax."""

from __future__ import annotations

import numpy as np

from .context import Lowering, memory_order
from .emit import along, dense, fill
from .movement import axes_of, axis_of
from .node import Node
from .registry import operator
from .values import Value

REDUCE = {"ReduceSum": 0, "ReduceMean": 1, "ReduceMax": 2, "ReduceMin": 3, "ReduceProd": 4, "ReduceL1": 5,
          "ReduceL2": 6, "ReduceSumSquare": 7, "ReduceLogSum": 8, "ReduceLogSumExp": 9}  # fmt: skip
OF_NOTHING = (0, np.nan, -np.inf, np.inf, 1, 0, 0, 0, -np.inf, -np.inf)  # by mode


def reduced(ctx: Lowering, x: np.ndarray, axes, mode: int) -> np.ndarray:
    """`x` reduced over `axes`, which stay with extent 1; `mode` as in kernels/reduce.py."""
    axes = set(axes)
    shape = [1 if i in axes else d for i, d in enumerate(x.shape)]
    if x.size == 0:
        out = ctx.new(shape)
        if out.size:
            fill(ctx, out, OF_NOTHING[mode])
        return out
    x = dense(ctx, x)
    order = memory_order(x)
    at = [i for i, a in enumerate(order) if a in axes and x.shape[a] > 1] or [0]
    if at[-1] - at[0] >= len(at):  # other axes lie between them in memory: the reduced ones go last
        order = tuple(i for i in range(x.ndim) if i not in axes) + tuple(sorted(axes))
        x = ctx.contiguous(x.transpose(order)).transpose(np.argsort(order))
        at = [x.ndim - len(axes), x.ndim - 1]
    out = ctx.new(shape, like=x)
    extents = [x.shape[i] for i in order]
    r = extents[at[0] : at[-1] + 1] if axes and extents else []
    if not r or order[at[0]] not in axes:
        at, r = [0, -1], []
    outer, size = int(np.prod(extents[: at[0]], dtype=int)), int(np.prod(r, dtype=int))
    inner = x.size // (outer * size)
    ctx.step(
        "reduce", x=x.transpose(order).reshape((outer, size, inner), copy=False), mode=mode,
        out=out.transpose(order).reshape((outer, inner), copy=False), reason=f"over axes {sorted(axes)}",
    )  # fmt: skip
    return out


@operator(*REDUCE)
def reduce(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    rank = len(x.shape)
    keep, noop = node.int("keepdims", 1, allowed=(0, 1)), node.int("noop_with_empty_axes", 0, allowed=(0, 1))
    axes = axes_of(node, rank, default=[])
    if not axes and noop and node.op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"):
        return x
    axes = axes or ([] if noop else list(range(rank)))
    out = reduced(ctx, ctx.f32(x), axes, REDUCE[node.op])
    return ctx.value(out if keep else np.squeeze(out, tuple(axes)))


@operator("Softmax", "LogSoftmax")
def softmax(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0))
    axis = axis_of(node, x.ndim, -1 if node.opset >= 13 else 1)
    log = int(node.op == "LogSoftmax")
    if node.opset < 13:  # all axes from this one on count as one
        x = ctx.contiguous(x)
        out = ctx.new(x.shape)
        shape = (int(np.prod(x.shape[:axis], dtype=int)), int(np.prod(x.shape[axis:], dtype=int)), 1)
        source, target = x.reshape(shape), out.reshape(shape)
    else:
        source, target, out = along(ctx, x, axis, x.shape[axis])
    if x.size:
        ctx.step("softmax", x=source, log=log, out=target, reason=node.op.lower())
    return ctx.value(out)
