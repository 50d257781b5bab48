"""Reductions and softmax."""

from __future__ import annotations

import numpy as np

from ..dtypes import NUMPY
from . import doubles
from .context import Lowering, memory_order
from .emit import along, cast, dense, fill
from .movement import axes_of, axis_of
from .node import Node
from .registry import operator
from .values import Value
from .whole_numbers import EQUAL, INTEGERS, WIDER, compared, operand

REDUCE = {"ReduceSum": 0, "ReduceMean": 1, "ReduceMax": 2, "ReduceMin": 3, "ReduceProd": 4, "ReduceL1": 5,
          "ReduceL2": 6, "ReduceSumSquare": 7, "ReduceLogSum": 8, "ReduceLogSumExp": 9}  # fmt: skip
INTEGER = {"ReduceSum": 0, "ReduceMean": 1, "ReduceMax": 2, "ReduceMin": 3, "ReduceProd": 4, "ReduceL1": 5,
           "ReduceSumSquare": 6}  # fmt: skip
OF_NOTHING = (0, np.nan, -np.inf, np.inf, 1, 0, 0, 0, -np.inf, -np.inf)  # results of empty reductions, by mode


def reduced(
    ctx: Lowering, x: np.ndarray, axes, mode: int, kernel: str = "reduce", dtype: str = "f32", nothing=None, **how
) -> np.ndarray:
    """`x` reduced over `axes`, which are kept with extent 1; `mode` is that of the kernel.

    `dtype` is the result's, `nothing` is the result of an empty reduction, `how` are more arguments of the kernel.
    """
    axes = set(axes)
    shape = [1 if i in axes else d for i, d in enumerate(x.shape)]
    if x.size == 0:
        out = ctx.new(shape, dtype)
        if out.size:
            fill(ctx, out, OF_NOTHING[mode] if nothing is None else nothing)
        return out
    x = dense(ctx, x)
    order = memory_order(x)
    at = [i for i, a in enumerate(order) if a in axes and x.shape[a] > 1] or [0]
    if at[-1] - at[0] >= len(at):  # other axes lie between them in memory: copy so that the reduced ones come last
        order = tuple(i for i in range(x.ndim) if i not in axes) + tuple(sorted(axes))
        x = ctx.contiguous(x.transpose(order)).transpose(np.argsort(order))
        at = [x.ndim - len(axes), x.ndim - 1]
    out = ctx.new(shape, dtype, like=x)
    extents = [x.shape[i] for i in order]
    r = extents[at[0] : at[-1] + 1] if axes and extents else []
    if not r or order[at[0]] not in axes:
        at, r = [0, -1], []
    outer, size = int(np.prod(extents[: at[0]], dtype=int)), int(np.prod(r, dtype=int))
    inner = x.size // (outer * size)
    ctx.step(
        kernel, x=x.transpose(order).reshape((outer, size, inner), copy=False), mode=mode, **how,
        out=out.transpose(order).reshape((outer, inner), copy=False), reason=f"over axes {sorted(axes)}",
    )  # fmt: skip
    return out


def _of_integers(ctx: Lowering, node: Node, x: Value, axes) -> Value:
    """A reduction of integers or bool; exact, wrapping around."""
    if node.op not in INTEGER:
        node.refuse(f"works on float32, got {x.dtype}")
    mode = INTEGER[node.op]
    if node.op == "ReduceMean" and x.dtype != "u64":  # the sum must not wrap around before it is divided
        wide = cast(ctx, x, "i64")
    else:
        wide = cast(ctx, x, "i32" if x.dtype in ("bool", "u8", *WIDER) else x.dtype)
    ends = (0, 1) if x.dtype == "bool" else (np.iinfo(NUMPY[x.dtype]).min, np.iinfo(NUMPY[x.dtype]).max)
    nothing = (0, 0, *ends, 1, 0, 0)[mode]
    out = reduced(ctx, ctx.data(wide), axes, mode, "ireduce", wide.dtype, nothing)
    return cast(ctx, ctx.value(out), x.dtype)


@operator(*REDUCE)
def reduce(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    rank = len(x.shape)
    keep, noop = node.int("keepdims", 1, allowed=(0, 1)), node.int("noop_with_empty_axes", 0, allowed=(0, 1))
    axes = axes_of(node, rank, default=[])
    if not axes and noop and node.op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"):
        return x
    axes = axes or ([] if noop else list(range(rank)))
    if x.dtype in INTEGERS or (x.dtype == "bool" and node.op in ("ReduceMax", "ReduceMin")):
        out = _of_integers(ctx, node, x, axes)
    elif x.dtype == "f64":
        out = ctx.value(doubles.reduced(ctx, node.op, ctx.data(x), axes))
    else:
        out = ctx.value(reduced(ctx, ctx.f32(x), axes, REDUCE[node.op]))
    return out if keep else ctx.value(np.squeeze(out.data, tuple(axes)), out.dtype)


@operator("ArgMax", "ArgMin")
def arg_extreme(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    axis = axis_of(node, len(x.shape), 0)
    keep, last = node.int("keepdims", 1, allowed=(0, 1)), node.int("select_last_index", 0, allowed=(0, 1))
    if x.shape[axis] == 0:
        node.refuse(f"axis {axis} of shape {x.shape} has no elements")
    if x.dtype == "i8":
        data = ctx.codes(x)  # stored codes have the same order
    else:
        data = operand(ctx, x) if x.dtype in INTEGERS else _floats(ctx, x)
    out = reduced(ctx, data, [axis], int(node.op == "ArgMin"), "argreduce", "i64", last=last)
    return ctx.value(out if keep else np.squeeze(out, axis))


def _floats(ctx: Lowering, x: Value) -> np.ndarray:
    """The data of float32 or float64."""
    return ctx.data(x) if x.dtype == "f64" else ctx.f32(x)


@operator("CumSum", "CumProd")
def cumsum(ctx: Lowering, node: Node) -> Value:
    x, axis = node.input(0), int(node.plan_time(1, "axis", required=True).reshape(()))
    exclusive, reverse = (node.int(name, 0, allowed=(0, 1)) for name in ("exclusive", "reverse"))
    rank = len(x.shape)
    if not -rank <= axis < rank:
        node.refuse(f"axis {axis} is outside {rank} dimensions")
    if x.dtype in INTEGERS:
        data = ctx.data(cast(ctx, x, "i32")) if x.dtype == "u8" else operand(ctx, x)
    else:
        data = _floats(ctx, x)
    source, target, out = along(ctx, data, axis % rank, x.shape[axis])
    if target.size:
        ctx.step(
            "cumsum", x=source, product=int(node.op == "CumProd"), exclusive=exclusive, reverse=reverse, out=target,
            reason=f"along axis {axis}",
        )  # fmt: skip
    return cast(ctx, ctx.value(out), x.dtype)


@operator("Softmax", "LogSoftmax")
def softmax(ctx: Lowering, node: Node) -> Value:
    x = _floats(ctx, node.input(0))
    axis = axis_of(node, x.ndim, -1 if node.opset >= 13 else 1)
    log = int(node.op == "LogSoftmax")
    if x.dtype == np.float64:
        if node.opset < 13:
            node.refuse("of float64 needs opset 13")
        return ctx.value(doubles.softmax(ctx, x, axis, bool(log)))
    if node.opset < 13:  # all axes from this one on are flattened to one
        x = ctx.contiguous(x)
        out = ctx.new(x.shape)
        shape = (int(np.prod(x.shape[:axis], dtype=int)), int(np.prod(x.shape[axis:], dtype=int)), 1)
        source, target = x.reshape(shape), out.reshape(shape)
    else:
        source, target, out = along(ctx, x, axis, x.shape[axis])
    if x.size:
        ctx.step("softmax", x=source, log=log, out=target, reason=node.op.lower())
    return ctx.value(out)


@operator("Hardmax")
def hardmax(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0))
    axis = axis_of(node, x.ndim, -1 if node.opset >= 13 else 1)
    if node.opset < 13:  # all axes from this one on are flattened to one
        shape, x = x.shape, ctx.contiguous(x)
        x = x.reshape(int(np.prod(shape[:axis], dtype=int)), int(np.prod(shape[axis:], dtype=int)))
    else:
        shape = x.shape
    last = min(axis, x.ndim - 1) if node.opset >= 13 else 1
    if not x.size:
        return ctx.value(ctx.new(shape))
    at = ctx.value(reduced(ctx, x, [last], 0, "argreduce", "i64", last=0))
    places = np.arange(x.shape[last]).reshape([-1 if i == last else 1 for i in range(x.ndim)])
    chosen = cast(ctx, compared(ctx, at, Value.constant(places), EQUAL), "f32")
    return ctx.value(ctx.contiguous(chosen.data).reshape(shape))


@operator("TopK")
def top_k(ctx: Lowering, node: Node) -> list[Value]:
    x = node.input(0)
    k = node.int("k") if node.opset < 10 else int(node.plan_time(1, "K", required=True).reshape(()))
    axis, largest = axis_of(node, len(x.shape), -1), node.int("largest", 1, allowed=(0, 1))
    node.int("sorted", 1, allowed=(0, 1))
    if not 0 <= k <= x.shape[axis]:
        node.refuse(f"k = {k} does not fit axis {axis} of shape {x.shape}")
    if x.dtype == "i8":
        data = ctx.codes(x)  # stored codes have the same order
    else:
        data = operand(ctx, x) if x.dtype in INTEGERS else _floats(ctx, x)
    source, values, out = along(ctx, data, axis, k)
    index = ctx.new(out.shape, "i64", like=out)
    if out.size:
        ctx.step(
            "topk", x=source, smallest=1 - largest, out=values, reason=f"the first {k} of axis {axis}",
            out_index=index.transpose(memory_order(out)).reshape(values.shape, copy=False),
        )  # fmt: skip
    found = ctx.value(out, "i8") if x.dtype == "i8" else cast(ctx, ctx.value(out), x.dtype)
    return [found, ctx.value(index)][: node.outputs]
