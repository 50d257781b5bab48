"""Functions of two and more elements, with broadcasting."""

from __future__ import annotations

import numpy as np

from .activation import clip_codes
from .context import Lowering
from .emit import cast
from .node import Node
from .registry import operator
from .values import Value

ADD, SUB, MUL, DIV, POW, MIN, MAX, PRELU, MOD = range(9)  # as in kernels/binary.py
BINARY = {"Add": ADD, "Sub": SUB, "Mul": MUL, "Div": DIV}
COMPARE = {"Equal": 0, "Less": 1, "LessOrEqual": 2, "Greater": 3, "GreaterOrEqual": 4}
EXACT = ("f32", "bool", "u8", "i8", "u16", "i16")  # float32 holds every value of these


@operator(*BINARY)
def binary(ctx: Lowering, node: Node) -> Value:
    a, b = ctx.f32(node.input(0, "A")), ctx.f32(node.input(1, "B"))
    return ctx.value(ctx.binary(a, b, BINARY[node.op]))


@operator("Sum", "Mean", "Min", "Max")
def several(ctx: Lowering, node: Node) -> Value:
    op = {"Min": MIN, "Max": MAX}.get(node.op, ADD)
    if node.op in ("Min", "Max") and (bounded := _bounded_codes(ctx, node)) is not None:
        return bounded
    kind = node.input(0).dtype
    if codes := node.op in ("Min", "Max") and kind in ("u8", "i8"):  # float32 holds them exactly
        if any(v is None or v.dtype != kind for v in node.inputs):
            node.refuse(f"works on values of one type, got {[None if v is None else v.dtype for v in node.inputs]}")
        node = node.become(node.op, [cast(ctx, v, "f32") for v in node.inputs])
    total = ctx.f32(node.input(0))
    for i in range(1, len(node.inputs)):
        total = ctx.binary(total, ctx.f32(node.input(i)), op)
    if node.op == "Mean" and len(node.inputs) > 1:
        total = ctx.binary(total, np.float32(len(node.inputs)).reshape(()), DIV)
    return cast(ctx, ctx.value(total), kind) if codes else ctx.value(total)


def _bounded_codes(ctx: Lowering, node: Node) -> Value | None:
    """Min or Max of 8-bit codes and one constant, by a table; None for any other."""
    if len(node.inputs) != 2 or node.input(0).dtype not in ("u8", "i8"):
        return None
    x, bound = sorted((node.input(0), node.input(1)), key=lambda v: not v.runtime)
    if not x.runtime or bound.runtime or bound.size != 1 or len(bound.shape) > len(x.shape):
        return None
    value = bound.data.reshape(())
    return clip_codes(ctx, node, x, (value, None) if node.op == "Max" else (None, value))


def exact(ctx: Lowering, node: Node, value: Value) -> np.ndarray:
    """The float32 form of a value whose type float32 holds exactly."""
    if value.dtype not in EXACT:
        node.refuse(f"works on {', '.join(EXACT)}, got {value.dtype}")
    return ctx.data(cast(ctx, value, "f32"))


@operator("Pow")
def power(ctx: Lowering, node: Node) -> Value:
    x, exponent = ctx.f32(node.input(0)), node.input(1)
    if not exponent.runtime and exponent.data is not None:
        data = exponent.data.astype(np.float32)
        if not np.array_equal(data.astype(np.float64), exponent.data, equal_nan=True):
            node.refuse("an exponent is not exact in float32")
        if data.size == 1 and data.reshape(()) == 2 and data.ndim <= x.ndim:
            return ctx.value(ctx.binary(x, x, MUL))
    else:
        data = exact(ctx, node, exponent)
    return ctx.value(ctx.binary(x, data, POW))


@operator("PRelu")
def prelu(ctx: Lowering, node: Node) -> Value:
    x, slope = ctx.f32(node.input(0)), ctx.f32(node.input(1))
    if ctx.model.legacy and slope.size > 1 and x.ndim > 2:  # one slope per channel
        slope = slope.reshape(-1, *[1] * (x.ndim - 2))
    if slope.ndim > x.ndim:
        node.refuse(f"slope {slope.shape} does not broadcast to {x.shape}")
    return ctx.value(ctx.binary(x, slope, PRELU))


@operator("Mod")
def mod(ctx: Lowering, node: Node) -> Value:
    node.int("fmod", 0, allowed=(1,))
    return ctx.value(ctx.binary(ctx.f32(node.input(0)), ctx.f32(node.input(1)), MOD))


@operator(*COMPARE)
def compare(ctx: Lowering, node: Node) -> Value:
    a, b = (exact(ctx, node, node.input(i)) for i in range(2))
    return ctx.value(ctx.elementwise("compare", {"a": a, "b": b}, "bool", op=COMPARE[node.op]))


@operator("And", "Or", "Not")
def logic(ctx: Lowering, node: Node) -> Value:
    if any(v is None or v.dtype != "bool" for v in node.inputs):
        node.refuse("works on bool")
    a = exact(ctx, node, node.input(0))
    if node.op == "Not":
        zero = np.zeros((), np.float32)
        return ctx.value(ctx.elementwise("compare", {"a": a, "b": zero}, "bool", op=COMPARE["Equal"]))
    both = ctx.binary(a, exact(ctx, node, node.input(1)), MIN if node.op == "And" else MAX)
    return cast(ctx, ctx.value(both), "bool")


@operator("Where")
def where(ctx: Lowering, node: Node) -> Value:
    condition, a, b = (node.input(i) for i in range(3))
    if condition.dtype != "bool" or a.dtype != b.dtype:
        node.refuse(f"works on bool and two values of one type, got {condition.dtype}, {a.dtype}, {b.dtype}")
    c, x, y = (ctx.data(v) for v in (condition, a, b))
    size = x.dtype.itemsize
    if size == 4:
        out = ctx.elementwise("where", {"cond": c, "a": x.view(np.float32), "b": y.view(np.float32)}, "f32")
        return Value(a.dtype, out.shape, out.view(x.dtype), True)
    if size != 8:
        node.refuse(f"works on types of 4 and 8 bytes, got {a.dtype}")
    halves = {"cond": c[..., None], "a": x[..., None].view(np.float32), "b": y[..., None].view(np.float32)}
    out = ctx.elementwise("where", halves, "f32")
    shape = out.shape[:-1]
    if not out.flags.c_contiguous:
        out = ctx.contiguous(out)
    return Value(a.dtype, shape, out.view(x.dtype).reshape(shape), True)
