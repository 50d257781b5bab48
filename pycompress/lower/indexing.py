"""Operators that read elements at indices."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .emit import along, cast, moved, pick, stored, to_shape
from .movement import axis_of
from .node import Node
from .registry import operator
from .values import Quant, Value
from .whole_numbers import ADD, AND, EQUAL, LESS, MIN, MUL, OR, SUB, chosen, combined, compared, constant


def known(node: Node, index: np.ndarray, size: int, what: str) -> np.ndarray:
    """Constant indices, normalized to [0, size)."""
    if index.dtype.kind not in "iu":
        node.refuse(f"indices must be integers, got {index.dtype.name}")
    index = index.astype(np.int64)
    if index.size and (index.min() < -size or index.max() >= size):
        node.refuse(f"an index is outside [-{size}, {size}), the extent of {what}")
    return np.where(index < 0, index + size, index)


def computed(ctx: Lowering, node: Node, value: Value) -> Value:
    """Run-time indices, in a type that the kernel accepts."""
    if value.dtype not in ("u8", "i8", "u16", "i16", "u32", "i32", "i64"):
        node.refuse(f"indices must be integers, got {value.dtype}")
    return cast(ctx, value, "i64" if value.dtype in ("u32", "i64") else "i32")


def looked_up(ctx: Lowering, x: Value, axis: int, index: np.ndarray) -> np.ndarray:
    """The rows of `x` along `axis` at run-time indices; an index outside gives NaN, for integers -1."""
    source, target, out = along(ctx, stored(ctx, x), axis, index.size)
    if target.size:
        flat = ctx.contiguous(index).reshape(-1)
        ctx.step(
            "lookup", x=source.view(np.uint8), index=flat, out=target.view(np.uint8),
            reason=f"rows of axis {axis}, by an index computed at run time",
        )  # fmt: skip
    if x.dtype == "bool":  # an index outside gives 255, which becomes 1
        bits = ctx.elementwise("ibinary", {"a": out.view(np.uint8), "b": np.ones((), np.uint8)}, "u8", op=MIN)
        return bits.view(np.bool_)
    return out


@operator("Gather")
def gather(ctx: Lowering, node: Node) -> Value:
    x, index = node.input(0), node.input(1, "indices")
    axis = axis_of(node, len(x.shape), 0)
    shape = x.shape[:axis] + index.shape + x.shape[axis + 1 :]
    if not index.runtime:
        rows = known(node, ctx.data(index), x.shape[axis], f"axis {axis}").reshape(-1)
        return moved(ctx, x, lambda data: to_shape(ctx, pick(ctx, data, axis, rows), shape))
    index = computed(ctx, node, index)
    if x.shape[axis] == 0 and index.size:
        node.refuse(f"axis {axis} of shape {x.shape} has no elements")
    q = x.quant
    if x.data is None and q.scale.size == 1 and not q.block and q.value.dtype in ("u8", "i8"):  # stay codes
        rows = to_shape(ctx, looked_up(ctx, q.value, axis, index.data), shape)
        return Value("f32", shape, None, True, Quant(ctx.value(rows, q.value.dtype), q.scale, q.zero))
    return ctx.value(to_shape(ctx, looked_up(ctx, x, axis, index.data), shape), x.dtype)


def flat_index(ctx: Lowering, indices: list[Value], extents, steps, base: np.ndarray, total: int) -> np.ndarray:
    """Combine run-time indices along several axes: base + sum of index * step, or `total` (outside) if any is outside."""
    at, inside = Value.constant(base), None
    for index, extent, step in zip(indices, extents, steps):
        index = cast(ctx, index, "i64")
        below = compared(ctx, index, constant(index, 0), LESS)
        index = chosen(ctx, below, combined(ctx, index, constant(index, extent), ADD), index)
        unsigned = Value(
            "u64", index.shape, index.data.view(np.uint64), True
        )  # so that one comparison checks both ends
        fits = compared(ctx, unsigned, constant(unsigned, extent), LESS)
        inside = fits if inside is None else combined(ctx, inside, fits, AND)
        at = combined(ctx, at, combined(ctx, index, constant(index, step), MUL), ADD)
    return chosen(ctx, inside, at, constant(at, total)).data


def steps_of(extents) -> list[int]:
    """The distance between neighbours along each axis in a dense array of `extents`."""
    return [int(np.prod(extents[i + 1 :], dtype=object)) for i in range(len(extents))]


def line(count: int, axis: int, rank: int) -> np.ndarray:
    """0, 1 ... along `axis` of `rank` axes."""
    return np.arange(count).reshape([-1 if i == axis else 1 for i in range(rank)])


def picked(ctx: Lowering, x: Value, lead: int, index: np.ndarray, shape) -> Value:
    """The rows `index` of `x` in `shape`, with the first `lead` axes of `x` as one; `index` is constant or run-time data."""
    rows = (int(np.prod(x.shape[:lead], dtype=object)), *x.shape[lead:])
    if ctx.is_runtime(index):
        flat = moved(ctx, Value(x.dtype, x.shape, ctx.data(x), x.runtime), lambda d: to_shape(ctx, d, rows))
        return ctx.value(to_shape(ctx, looked_up(ctx, flat, 0, index), shape), x.dtype)
    ctx.rows_fit(index.size)
    return moved(ctx, x, lambda d: to_shape(ctx, pick(ctx, to_shape(ctx, d, rows), 0, index.reshape(-1)), shape))


@operator("GatherElements")
def gather_elements(ctx: Lowering, node: Node) -> Value:
    x, index = node.input(0), node.input(1, "indices")
    rank = len(x.shape)
    axis = axis_of(node, rank, 0)
    grid, step = element_grid(node, x.shape, index.shape, axis)
    if index.runtime:
        at = flat_index(ctx, [computed(ctx, node, index)], [x.shape[axis]], [step], grid, x.size)
    else:
        at = grid + step * known(node, ctx.data(index), x.shape[axis], f"axis {axis}")
    return picked(ctx, x, rank, at, index.shape)


def element_grid(node: Node, shape, indices, axis: int) -> tuple[np.ndarray, int]:
    """(where the row of each index begins in a flat array of `shape`, the distance of neighbours along `axis` there)."""
    if len(indices) != len(shape) or any(i > d for k, (i, d) in enumerate(zip(indices, shape)) if k != axis):
        node.refuse(f"indices of shape {indices} do not fit shape {shape} along axis {axis}")
    steps, rank = steps_of(shape), len(shape)
    grid = sum((step * line(n, k, rank) for k, (n, step) in enumerate(zip(indices, steps)) if k != axis), np.int64(0))
    return np.broadcast_to(grid, indices), steps[axis]


@operator("GatherND")
def gather_nd(ctx: Lowering, node: Node) -> Value:
    x, index = node.input(0), node.input(1, "indices")
    batch = node.int("batch_dims", 0)
    rank, depth = len(x.shape), index.shape[-1] if index.shape else 0
    if not 0 <= batch < len(index.shape) or x.shape[:batch] != index.shape[:batch] or not 0 < depth <= rank - batch:
        node.refuse(f"indices of shape {index.shape} with batch_dims = {batch} do not fit shape {x.shape}")
    lead, count = batch + depth, index.shape[:-1]
    steps, extents = steps_of(x.shape[:lead]), x.shape[batch:lead]
    grid = sum((steps[k] * line(x.shape[k], k, len(count)) for k in range(batch)), np.int64(0))
    grid = np.broadcast_to(grid, count)
    if index.runtime:
        index = computed(ctx, node, index)
        parts = [Value(index.dtype, count, index.data[..., k], True) for k in range(depth)]
        total = int(np.prod(x.shape[:lead], dtype=object))
        at = flat_index(ctx, parts, extents, steps[batch:], grid, total)
    else:
        data = ctx.data(index)
        at = grid + sum(
            steps[batch + k] * known(node, data[..., k], d, f"axis {batch + k}") for k, d in enumerate(extents)
        )
    return picked(ctx, x, lead, at, count + x.shape[lead:])


@operator("OneHot")
def one_hot(ctx: Lowering, node: Node) -> Value:
    index, values = node.input(0), node.input(2, "values")
    depth = int(node.plan_time(1, "depth", required=True).reshape(()))
    rank = len(index.shape) + 1
    axis = node.int("axis", -1)
    if not -rank <= axis < rank or depth < 0 or values.shape != (2,):
        node.refuse(f"axis {axis}, depth {depth} and values of shape {values.shape} do not fit indices {index.shape}")
    axis %= rank
    shape = (*index.shape[:axis], depth, *index.shape[axis:])
    ctx.tensor_bytes(shape, "i64")
    index = cast(ctx, index, "i64")
    index = Value("i64", shape, np.broadcast_to(np.expand_dims(index.data, axis), shape), index.runtime)
    place = line(depth, axis, rank)
    there = [
        compared(ctx, index, Value.constant(p), EQUAL) for p in (place, place - depth)
    ]  # counted from the start and from the end
    data = ctx.data(values)
    off, on = (Value(values.dtype, (), data[k : k + 1].reshape(()), values.runtime) for k in range(2))
    return chosen(ctx, combined(ctx, *there, OR), on, off)


@operator("ReverseSequence")
def reverse_sequence(ctx: Lowering, node: Node) -> Value:
    x, lengths = node.input(0), node.input(1, "sequence_lens")
    batch, time = node.int("batch_axis", 1, allowed=(0, 1)), node.int("time_axis", 0, allowed=(0, 1))
    if len(x.shape) < 2 or batch == time or lengths.shape != (x.shape[batch],):
        node.refuse(f"lengths {lengths.shape}, batch_axis {batch} and time_axis {time} do not fit shape {x.shape}")
    count, size = x.shape[batch], x.shape[time]
    lengths = cast(ctx, lengths if not lengths.runtime else computed(ctx, node, lengths), "i64")
    last = Value("i64", (count, 1), lengths.data.reshape(count, 1), lengths.runtime)
    step = Value.constant(np.broadcast_to(np.arange(size), (count, size)))
    back = combined(ctx, combined(ctx, last, constant(last, 1), SUB), step, SUB)
    at = chosen(ctx, compared(ctx, step, last, LESS), back, step)
    grid = np.broadcast_to(size * np.arange(count)[:, None], (count, size))
    flat = flat_index(ctx, [at], [size], [1], grid, count * size)
    front = ctx.data(x).swapaxes(0, 1) if batch else ctx.data(x)
    rows = picked(ctx, Value(x.dtype, front.shape, front, x.runtime), 2, flat, front.shape)
    return Value(rows.dtype, x.shape, rows.data.swapaxes(0, 1), rows.runtime) if batch else rows
