"""Steps that several operators emit: gathers along an axis, fills and conversions."""

from __future__ import annotations

import numpy as np

from ..dtypes import NUMPY, word
from .context import SIGN_FLIP, Lowering, memory_order, reshaped, together
from .values import Quant, Value


def moved(ctx: Lowering, value: Value, data_of, axis_of=None) -> Value:
    """`value` with its data rearranged by `data_of`; of a quantized value the codes are rearranged, not the floats.

    `axis_of` maps the quantization axis; it returns None, or is None, where that axis does not remain an axis.
    """
    q = value.quant
    single = q is not None and q.scale.size == 1 and not q.block
    axis = q.axis if single else axis_of(q.axis) if q is not None and axis_of is not None else None
    if q is not None and value.data is None and axis is not None:
        codes = data_of(q.value.data)
        inner = Value(q.value.dtype, codes.shape, codes, ctx.is_runtime(codes))
        scale, zero = (data_of(v) if q.block else v for v in (q.scale, q.zero))
        return Value("f32", codes.shape, None, value.runtime, Quant(inner, scale, zero, axis, q.block, q.bits))
    data = data_of(ctx.data(value))
    return Value(value.dtype, data.shape, data, ctx.is_runtime(data))


def stored(ctx: Lowering, value: Value) -> np.ndarray:
    """The data of `value` in its run-time storage: int8 is stored as uint8 with 128 added."""
    return ctx.codes(value) if value.dtype == "i8" else ctx.data(value)


def to_shape(ctx: Lowering, x: np.ndarray, shape) -> np.ndarray:
    """`x` in another shape: a view if its strides allow it, else a copy that keeps the memory order of its axes."""
    view = reshaped(x, shape)
    if view is not None:
        return view
    if not ctx.is_runtime(x):
        return x.reshape(shape)
    blocks = _blocks(x.shape, tuple(shape))
    depth = [min((abs(x.strides[i]) for i in old if x.shape[i] > 1), default=0) for old, _ in blocks]
    order = sorted(range(len(blocks)), key=lambda b: -depth[b])
    flat = ctx.new([int(np.prod([x.shape[i] for i in blocks[b][0]], dtype=int)) for b in order], word(x.dtype))
    flat = flat.transpose(np.argsort(order))
    ctx.copy(x, flat.reshape(x.shape, copy=False))
    return flat.reshape(shape, copy=False)


def _blocks(old, new) -> list[tuple[list[int], list[int]]]:
    """The smallest groups of consecutive axes of `old` and `new` that hold the same elements, in order."""
    blocks, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        a, b, first, second = 1, 1, [], []
        while not first or not second or a != b:
            if i < len(old) and (a <= b or j >= len(new)):
                a *= old[i]
                first.append(i)
                i += 1
            elif j < len(new):
                b *= new[j]
                second.append(j)
                j += 1
            else:
                break
        if not first or not second:  # axes of extent 1 are left over; they join the last block
            if blocks:
                blocks[-1][0].extend(first)
                blocks[-1][1].extend(second)
                continue
        blocks.append((first, second))
    return blocks


def dense(ctx: Lowering, x: np.ndarray) -> np.ndarray:
    """`x` without gaps in memory, in any order of axes: `x` itself or a copy."""
    return x if x.transpose(memory_order(x)).flags.c_contiguous else ctx.contiguous(x)


def along(ctx: Lowering, x: np.ndarray, axis: int, count: int):
    """(x as [outer,extent,inner], a new array with `count` along `axis` as [outer,count,inner], the same in x's shape).

    The memory order of `x` is kept.
    """
    x = dense(ctx, x)
    order = memory_order(x)
    at = order.index(axis)
    outer = int(np.prod([x.shape[i] for i in order[:at]], dtype=int))
    inner = int(np.prod([x.shape[i] for i in order[at + 1 :]], dtype=int))
    out = ctx.new([count if i == axis else d for i, d in enumerate(x.shape)], word(x.dtype), like=x)
    source = x.transpose(order).reshape((outer, x.shape[axis], inner), copy=False)
    return source, out.transpose(order).reshape((outer, count, inner), copy=False), out


def pick(ctx: Lowering, x: np.ndarray, axis: int, index) -> np.ndarray:
    """The rows `index` of `x` along `axis`: a view if they are evenly spaced, else a copy."""
    index = np.asarray(index, np.int64)
    steps = np.diff(index)
    if index.size and (steps == (steps[0] if steps.size else 1)).all() and (not steps.size or steps[0] > 0):
        step = int(steps[0]) if steps.size else 1
        return x[(slice(None),) * axis + (slice(int(index[0]), int(index[-1]) + 1, step),)]
    if not ctx.is_runtime(x):
        return np.take(x, index, axis)
    source, target, out = along(ctx, x, axis, index.size)
    if target.size:
        ctx.step(
            "gather", x=source.view(np.uint8), index=index.astype(np.int32), out=target.view(np.uint8),
            reason=f"rows of axis {axis}",
        )  # fmt: skip
    return out


def fill(ctx: Lowering, target: np.ndarray, value) -> None:
    """Fill `target` with one value."""
    element = np.full(1, value, target.dtype).view(np.uint8)
    for (part,) in together([target]):
        ctx.step("fill", value=element, out=part[..., None].view(np.uint8), reason=f"filled with {value}")


def cast(ctx: Lowering, value: Value, dtype: str) -> Value:
    """`value` converted to another type."""
    if value.dtype == dtype:
        return value
    if not value.runtime:
        return Value.constant(ctx.data(value).astype(NUMPY[dtype]))
    x = dense(ctx, stored(ctx, value))
    flat = x.transpose(memory_order(x)).reshape(-1)
    if value.dtype == "i8":
        flat = flip(ctx, flat).view(np.int8)
    out = ctx.new(x.shape, dtype, like=x)
    target = out.transpose(memory_order(x)).reshape(-1)
    if dtype == "i8":
        plain = ctx.new(target.shape, "u8")
        ctx.step("cast", x=flat, out=plain.view(np.int8), reason=f"{value.dtype} to {dtype}")
        flip(ctx, plain, target)
    else:
        ctx.step("cast", x=flat, out=target, reason=f"{value.dtype} to {dtype}")
    return Value(dtype, x.shape, out, True)


def flip(ctx: Lowering, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Convert int8 to its storage with 128 added, or back; `x` is flat."""
    out = ctx.new(x.shape, "u8") if out is None else out
    ctx.step("lut", x=x.reshape(1, -1), table=SIGN_FLIP, out=out.reshape(1, -1), reason="int8 is stored 128 higher")
    return out
