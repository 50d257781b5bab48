"""Operators that choose elements by their values, so that the number of them is only known at run time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .context import Lowering
from .emit import moved, pick, to_shape
from .indexing import looked_up, steps_of
from .movement import joined
from .node import Node
from .registry import operator
from .values import Value
from .whole_numbers import DIV, INTEGERS, MOD, NOT_EQUAL, combined, compared, constant


def chosen_places(ctx: Lowering, mask: np.ndarray) -> tuple[Value, Value]:
    """(the places of the true elements of a flat run-time mask, how many there are)."""
    places, count = ctx.new((mask.size,), "i64"), ctx.new((1,), "i64")
    ctx.step(
        "nonzero", x=ctx.contiguous(mask), out=places, out_count=count, reason="places that are chosen at run time"
    )
    return ctx.value(places), ctx.value(count)


@operator("NonZero")
def nonzero(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    if x.dtype not in ("f32", "f64", "bool", *INTEGERS):
        node.refuse(f"works on numbers and bool, got {x.dtype}")
    mask = x if x.dtype == "bool" else compared(ctx, x, constant(x, 0), NOT_EQUAL)
    shape = x.shape or (1,)
    places, count = chosen_places(ctx, ctx.contiguous(ctx.data(mask)).reshape(-1))
    rows = []
    for step, size in zip(steps_of(shape), shape):
        place = places if step == 1 else combined(ctx, places, constant(places, max(step, 1)), DIV)
        rows.append(combined(ctx, place, constant(places, max(size, 1)), MOD))
    rows = [Value("i64", (1, x.size), row.data.reshape(1, -1), True) for row in rows]
    out = rows[0] if len(rows) == 1 else joined(ctx, rows, 0)
    return replace(out, rows=(1, count))


@operator("Compress")
def compress(ctx: Lowering, node: Node) -> Value:
    x, condition, axis = node.input(0), node.input(1, "condition"), node.int("axis", None)
    rank = 1 if axis is None else len(x.shape)
    flat = axis is None
    axis = axis or 0
    if condition.dtype != "bool" or len(condition.shape) != 1 or not -rank <= axis < rank:
        node.refuse(f"condition {condition.dtype} {condition.shape} and axis {axis} do not fit shape {x.shape}")
    axis %= rank
    size = x.size if flat else x.shape[axis]
    if condition.size > size:
        node.refuse(f"a condition of {condition.size} elements is longer than axis {axis} of {size}")
    if flat:
        x = moved(ctx, Value(x.dtype, x.shape, ctx.data(x), x.runtime), lambda data: to_shape(ctx, data, (x.size,)))
    if condition.runtime:
        places, count = chosen_places(ctx, ctx.data(condition))
        rows = looked_up(ctx, x, axis, places.data)
        return replace(ctx.value(rows, x.dtype), rows=(axis, count))
    rows = np.flatnonzero(condition.data)
    ctx.rows_fit(size)
    none = (slice(None),) * axis + (slice(0, 0),)
    return moved(ctx, x, lambda data: pick(ctx, data, axis, rows) if rows.size else data[none])


@operator("NonMaxSuppression")
def non_max_suppression(ctx: Lowering, node: Node) -> Value:
    boxes, scores = ctx.f32(node.input(0, "boxes")), ctx.f32(node.input(1, "scores"))
    most, overlap, threshold = node.plan_time(2, "max_output_boxes_per_class"), node.optional(3), node.optional(4)
    center = node.int("center_point_box", 0, allowed=(0, 1))
    if (
        boxes.ndim != 3
        or scores.ndim != 3
        or boxes.shape[2] != 4
        or boxes.shape[:2] != (scores.shape[0], scores.shape[2])
    ):
        node.refuse(f"boxes {boxes.shape} and scores {scores.shape} do not fit")
    if any(v is not None and (v.size != 1 or v.dtype != "f32") for v in (overlap, threshold)):
        node.refuse("thresholds must be float32 scalars")
    most = 0 if most is None or not most.size else int(most.reshape(-1)[0])
    images, classes, count = scores.shape
    k = max(0, min(most, count))
    ctx.tensor_bytes((images, classes, k, 3), "i64")
    out, used = ctx.new((images, classes, k, 3), "i64"), ctx.new((1,), "i64")
    least = Value.constant(np.zeros(1, np.float32)) if overlap is None else overlap
    ctx.step(
        "nms", boxes=ctx.contiguous(boxes), scores=ctx.contiguous(scores), overlap=least.data.reshape(1),
        threshold=None if threshold is None else threshold.data.reshape(1), center=center, out=out, out_count=used,
        reason=f"at most {k} boxes of each class",
    )  # fmt: skip
    return replace(ctx.value(out.reshape(-1, 3) if out.size else out.reshape(0, 3)), rows=(0, ctx.value(used)))
