"""Operators that move data: most cost nothing, since values are views."""

from __future__ import annotations

import numpy as np

from .context import Lowering, reshaped
from .node import Node
from .registry import operator
from .values import Quant, Value


def moved(ctx: Lowering, value: Value, data_of, axis_of=None) -> Value:
    """`value` with its data moved by `data_of`; codes are moved, not their float form.

    `axis_of` maps the quantization axis; None where the move does not keep one axis apart.
    """
    q = value.quant
    if q is not None and value.data is None and (q.scale.size == 1 or axis_of is not None):
        codes = data_of(q.value.data)
        inner = Value(q.value.dtype, codes.shape, codes, q.value.runtime)
        axis = q.axis if q.scale.size == 1 else axis_of(q.axis)
        return Value("f32", codes.shape, None, value.runtime, Quant(inner, q.scale, q.zero, axis))
    data = data_of(ctx.data(value))
    return Value(value.dtype, data.shape, data, ctx.is_runtime(data))


def to_shape(ctx: Lowering, x: np.ndarray, shape) -> np.ndarray:
    """`x` in another shape: a view where its memory allows it, else a copy."""
    view = reshaped(x, shape)
    return ctx.contiguous(x).reshape(shape) if view is None else view


@operator("Reshape")
def reshape(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    dims = node.plan_time(1, "shape")
    dims = [int(d) for d in dims] if dims is not None else node.ints("shape")
    if not node.int("allowzero", 0):
        if any(d == 0 and i >= len(x.shape) for i, d in enumerate(dims)):
            node.refuse(f"shape {dims} copies a dimension that the input {x.shape} lacks")
        dims = [x.shape[i] if d == 0 else d for i, d in enumerate(dims)]
    known = int(np.prod([d for d in dims if d != -1], dtype=object))
    if dims.count(-1) > 1 or any(d < -1 for d in dims) or (-1 in dims and (known == 0 or x.size % known)):
        node.refuse(f"shape {dims} does not fit {x.shape}")
    dims = [x.size // known if d == -1 else d for d in dims]
    if int(np.prod(dims, dtype=object)) != x.size:
        node.refuse(f"shape {dims} does not fit {x.shape}")
    return moved(ctx, x, lambda data: to_shape(ctx, data, dims))


@operator("Flatten")
def flatten(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    axis = node.int("axis", 1)
    if not -len(x.shape) <= axis <= len(x.shape):
        node.refuse(f"= {axis} is outside {len(x.shape)} dimensions", "axis")
    axis = axis + len(x.shape) if axis < 0 else axis
    rows = int(np.prod(x.shape[:axis], dtype=int))
    shape = (rows, int(np.prod(x.shape[axis:], dtype=int)))
    return moved(ctx, x, lambda data: to_shape(ctx, data, shape))


@operator("Transpose")
def transpose(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    perm = node.ints("perm", list(range(len(x.shape)))[::-1])
    if sorted(perm) != list(range(len(x.shape))):
        node.refuse(f"= {perm} is not a permutation of {len(x.shape)} axes", "perm")
    return moved(ctx, x, lambda data: data.transpose(perm), perm.index)
