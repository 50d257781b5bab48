"""QuantizeLinear, DequantizeLinear and the operators on integers."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .node import Node
from .registry import operator
from .values import Quant, Value

RANGE = {"u8": (0, 255), "i8": (-128, 127), "i16": (-32768, 32767), "u16": (0, 65535), "i32": (-(2**31), 2**31 - 1)}


def parameters(ctx: Lowering, node: Node, x: Value, dtype: str | None, first: int = 1):
    """(scale f32[c], zero i32[c], axis) of a node's inputs `first` and `first + 1`, checked."""
    scale = node.plan_time(first, "scale")
    zero = node.plan_time(first + 1, "zero_point")
    if scale.dtype != np.float32:
        node.refuse(f"scale must be float32, got {scale.dtype.name}")
    if not np.isfinite(scale).all() or (scale <= 0).any():
        node.refuse("scale must be finite and positive")
    axis = node.int("axis", 1)
    node.int("block_size", 0, allowed=(0,))
    scale = np.ascontiguousarray(scale.reshape(-1))
    zero = np.zeros(scale.size, np.int32) if zero is None else zero.reshape(-1).astype(np.int32)
    if zero.size != scale.size:
        node.refuse(f"zero point and scale must have one size, got {zero.size} and {scale.size}")
    if scale.size > 1:
        if not -len(x.shape) <= axis < len(x.shape) or x.shape[axis] != scale.size:
            node.refuse(f"= {axis} does not fit {scale.size} scales and shape {x.shape}", "axis")
        axis %= len(x.shape)
    else:
        axis = 0
    return scale, zero, axis


@operator("DequantizeLinear")
def dequantize_linear(ctx: Lowering, node: Node) -> Value:
    x = node.input(0, "x")
    if x.dtype not in RANGE:
        node.refuse(f"works on {', '.join(RANGE)}, got {x.dtype}")
    scale, zero, axis = parameters(ctx, node, x, x.dtype)
    return Value("f32", x.shape, None, x.runtime, Quant(x, scale, zero, axis))


@operator("QuantizeLinear")
def quantize_linear(ctx: Lowering, node: Node) -> Value:
    x = node.input(0, "x")
    zero_input = node.optional(2)
    dtype = zero_input.dtype if zero_input is not None else "u8"
    if dtype not in RANGE or dtype == "i32":
        node.refuse(f"to {dtype} is not supported")
    scale, zero, axis = parameters(ctx, node, x, dtype)
    node.ignore("saturate")
    q = x.quant
    if q is not None and q.value.dtype == dtype and np.array_equal(q.scale, scale) and np.array_equal(q.zero, zero):
        return q.value
    return quantize(ctx, ctx.f32(x), dtype, scale, zero, axis)


def quantize(ctx: Lowering, x: np.ndarray, dtype: str, scale, zero, axis: int) -> Value:
    """The step that rounds float32 to codes of `dtype`."""
    shift = 128 if dtype == "i8" else 0
    low, high = RANGE[dtype]
    out = ctx.new(x.shape, dtype, like=x)
    source, target = ctx.blocks(x, axis, scale.size), ctx.blocks(out, axis, scale.size)
    if source is None or target is None:
        x, out = ctx.contiguous(x), ctx.new(x.shape, dtype)
        source, target = ctx.blocks(x, axis, scale.size), ctx.blocks(out, axis, scale.size)
    ctx.step(
        "quantize", x=source, scale=scale, zero=zero + shift, clamp=np.array([low + shift, high + shift], np.int32),
        out=target, reason="quantize",
    )  # fmt: skip
    return ctx.value(out, dtype)
