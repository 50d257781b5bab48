"""Operators that write elements at indices."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .emit import cast, fill, moved, pick, to_shape
from .indexing import computed, element_grid, flat_index, known, line, steps_of
from .movement import axis_of, joined
from .node import Node
from .registry import operator
from .values import Value
from .whole_numbers import ADD, MOD, combined, constant

REDUCTIONS = {"none": 0, "add": 1, "mul": 2, "min": 3, "max": 4}  # as in kernels/scatter.py
JOINED_IN = {"i8": "i32", "i16": "i32", "u16": "i32"}  # sums and products are computed in a wider type, then wrapped


def _placed(ctx: Lowering, x: Value, lead: int, at: np.ndarray, updates: Value) -> Value:
    """`x` with its rows `at` replaced, the first `lead` axes being the rows; of equal indices the last one counts."""
    rest = x.shape[lead:]
    rows = int(np.prod(x.shape[:lead], dtype=object))
    if not x.size or not updates.size:
        return x
    ctx.rows_fit(rows)
    source = np.arange(rows)
    source[at.reshape(-1)] = rows + np.arange(at.size)
    parts = [moved(ctx, v, lambda d, n=n: to_shape(ctx, d, (n, *rest))) for v, n in ((x, rows), (updates, at.size))]
    if not x.runtime and not updates.runtime:
        both = np.concatenate([ctx.data(p) for p in parts])
        return Value.constant(both[source].reshape(x.shape))
    both = joined(ctx, parts, 0)
    return ctx.value(to_shape(ctx, pick(ctx, both.data, 0, source), x.shape), x.dtype)


def written(ctx: Lowering, node: Node, x: Value, lead: int, at: np.ndarray, updates: Value, op: int) -> Value:
    """`x` with the rows `at` of its first `lead` axes replaced by `updates`, or joined to them; rows outside are left out."""
    if op == 0 and not ctx.is_runtime(at):
        return _placed(ctx, x, lead, at, updates)
    if not x.size or not updates.size:
        return x
    kind = x.dtype
    if op and kind == "bool":
        node.refuse("of bool is not supported", "reduction")
    if op in (1, 2) and kind in JOINED_IN or op and kind in ("i16", "u16"):
        x, updates = (cast(ctx, v, JOINED_IN[kind]) for v in (x, updates))
    rows = int(np.prod(x.shape[:lead], dtype=object))
    data, new = (ctx.codes(v) if v.dtype == "i8" else ctx.data(v) for v in (x, updates))
    data, new = ctx.contiguous(data).reshape(rows, -1), ctx.contiguous(new).reshape(at.size, -1)
    out = ctx.new(x.shape, x.dtype)
    target = out.reshape(data.shape)
    if op == 0:  # rows of bytes
        data, new, target = (v.view(np.uint8) for v in (data, new, target))
    index = ctx.contiguous(np.asarray(at)).reshape(-1)
    ctx.step("scatter", x=data, index=index, updates=new, op=op, out=target, reason="rows written at indices")
    return cast(ctx, ctx.value(out, x.dtype), kind)


def _inputs(node: Node) -> tuple[Value, Value, Value, int]:
    x, index, updates = node.input(0), node.input(1, "indices"), node.input(2, "updates")
    op = REDUCTIONS[node.string("reduction", "none", allowed=tuple(REDUCTIONS))]
    if x.dtype != updates.dtype:
        node.refuse(f"data and updates must be of one type, got {x.dtype} and {updates.dtype}")
    return x, index, updates, op


@operator("ScatterElements", "Scatter")
def scatter_elements(ctx: Lowering, node: Node) -> Value:
    x, index, updates, op = _inputs(node)
    axis = axis_of(node, len(x.shape), 0)
    if updates.shape != index.shape:
        node.refuse(f"updates of shape {updates.shape} must have the shape of the indices {index.shape}")
    grid, step = element_grid(node, x.shape, index.shape, axis)
    if index.runtime:
        at = flat_index(ctx, [computed(ctx, node, index)], [x.shape[axis]], [step], grid, x.size)
    else:
        at = grid + step * known(node, ctx.data(index), x.shape[axis], f"axis {axis}")
    return written(ctx, node, x, len(x.shape), at, updates, op)


@operator("ScatterND")
def scatter_nd(ctx: Lowering, node: Node) -> Value:
    x, index, updates, op = _inputs(node)
    depth = index.shape[-1] if index.shape else 0
    if not 0 < depth <= len(x.shape) or updates.shape != index.shape[:-1] + x.shape[depth:]:
        node.refuse(f"indices {index.shape} and updates {updates.shape} do not fit shape {x.shape}")
    extents, steps = x.shape[:depth], steps_of(x.shape[:depth])
    if index.runtime:
        index = computed(ctx, node, index)
        parts = [Value(index.dtype, index.shape[:-1], index.data[..., k], True) for k in range(depth)]
        at = flat_index(ctx, parts, extents, steps, np.zeros(index.shape[:-1], np.int64), int(np.prod(extents)))
    else:
        data = ctx.data(index)
        at = sum(step * known(node, data[..., k], d, f"axis {k}") for k, (step, d) in enumerate(zip(steps, extents)))
    return written(ctx, node, x, depth, np.asarray(at), updates, op)


@operator("TensorScatter")
def tensor_scatter(ctx: Lowering, node: Node) -> Value:
    past, update, first = node.input(0, "past_cache"), node.input(1, "update"), node.optional(2)
    axis, circular = axis_of(node, len(past.shape), -2), node.string("mode", "linear", allowed=("linear", "circular"))
    lead = past.shape[: axis + 1]
    size, count = lead[-1], update.shape[axis] if len(update.shape) > axis else 0
    fitting = (*past.shape[:axis], count, *past.shape[axis + 1 :])
    if axis == 0 or past.dtype != update.dtype or update.shape != fitting or count > size:
        node.refuse(f"update {update.dtype} {update.shape} does not fit the cache {past.dtype} {past.shape}")
    if first is not None and (first.dtype != "i64" or first.shape != (past.shape[0],)):
        node.refuse(f"write_indices must be int64 of shape {(past.shape[0],)}, got {first.dtype} {first.shape}")
    base = Value.constant(np.zeros(past.shape[0], np.int64)) if first is None else first
    base = Value("i64", (len(base.data), *[1] * axis), base.data.reshape(-1, *[1] * axis), base.runtime)
    places = combined(ctx, base, Value.constant(np.broadcast_to(line(count, axis, axis + 1), (*lead[:-1], count))), ADD)
    if circular == "circular":
        places = combined(ctx, places, constant(places, size), MOD)
    steps = steps_of(lead)
    grid = sum((steps[k] * line(lead[k], k, axis + 1) for k in range(axis)), np.int64(0))
    at = flat_index(ctx, [places], [size], [1], np.broadcast_to(grid, places.shape), int(np.prod(lead, dtype=object)))
    return written(ctx, node, past, axis + 1, at, update, 0)


@operator("MaxUnpool")
def max_unpool(ctx: Lowering, node: Node) -> Value:
    x, index, shape = node.input(0), node.input(1, "I"), node.plan_time(2, "output_shape")
    rank = len(x.shape) - 2
    kernel = node.ints("kernel_shape", minimum=1)
    strides = node.ints("strides", [1] * rank, length=rank, minimum=1)
    pads = node.ints("pads", [0] * 2 * rank, length=2 * rank, minimum=0)
    if rank < 1 or len(kernel) != rank or index.shape != x.shape or index.dtype != "i64":
        node.refuse(f"indices {index.dtype} {index.shape} and kernel_shape {kernel} do not fit shape {x.shape}")
    if not index.runtime:
        node.refuse("indices that are known when planning are not supported")
    sizes = zip(x.shape[2:], kernel, strides, pads[:rank], pads[rank:])
    made = (*x.shape[:2], *((d - 1) * s + k - a - b for d, k, s, a, b in sizes))
    if any(d < 1 for d in made):
        node.refuse(f"the image would have shape {made}")
    wanted = made if shape is None else tuple(int(d) for d in shape.reshape(-1))
    if len(wanted) != len(made) or wanted[:2] != made[:2] or any(a < b for a, b in zip(wanted, made)):
        node.refuse(f"output_shape {wanted} does not hold the image of shape {made}")
    empty = ctx.new(made)
    fill(ctx, empty, 0)
    out = written(ctx, node, ctx.value(empty), len(made), index.data, ctx.value(ctx.f32(x)), 0)
    if wanted == made:
        return out
    larger = ctx.new(wanted)  # the indices are those of the smaller image, which stands at its front
    fill(ctx, larger, 0)
    ctx.copy(out.data, larger[tuple(slice(d) for d in made)])
    return ctx.value(larger)


@operator("Col2Im")
def col2im(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    image, block = (
        tuple(int(d) for d in node.plan_time(i, n, required=True).reshape(-1))
        for i, n in ((1, "image_shape"), (2, "block_shape"))
    )
    rank = len(image)
    strides, dilations = (node.ints(name, [1] * rank, length=rank, minimum=1) for name in ("strides", "dilations"))
    pads = node.ints("pads", [0] * 2 * rank, length=2 * rank, minimum=0)
    if not rank or len(block) != rank or len(x.shape) != 3 or min(image + block) < 1:
        node.refuse(f"image_shape {image} and block_shape {block} do not fit shape {x.shape}")
    padded = [d + pads[i] + pads[i + rank] for i, d in enumerate(image)]
    steps = [(p - d * (b - 1) - 1) // s + 1 for p, b, d, s in zip(padded, block, dilations, strides)]
    cells, places = int(np.prod(block, dtype=object)), int(np.prod([max(s, 0) for s in steps], dtype=object))
    if x.shape[1] % cells or x.shape[2] != places:
        node.refuse(f"{cells} cells of a block and {places} places do not fit shape {x.shape}")
    ctx.rows_fit(cells * places)
    at = np.zeros((*block, *steps), np.int64)
    for k, step in enumerate(steps_of(padded)):
        at += step * (dilations[k] * line(block[k], k, 2 * rank) + strides[k] * line(steps[k], rank + k, 2 * rank))
    n, c = x.shape[0], x.shape[1] // cells
    columns = ctx.contiguous(
        to_shape(ctx, ctx.f32(x), (n * c, cells * places)).T
    )  # all channels of a cell side by side
    empty = ctx.new((int(np.prod(padded)), n * c))
    fill(ctx, empty, 0)
    out = empty
    if columns.size:
        out = ctx.new(empty.shape)
        ctx.step(
            "scatter",
            x=empty,
            index=at.reshape(-1),
            updates=columns,
            op=REDUCTIONS["add"],
            out=out,
            reason="sums of blocks",
        )
    whole = out.T.reshape(n, c, *padded)
    return ctx.value(whole[(..., *(slice(pads[i], pads[i] + d) for i, d in enumerate(image)))])
