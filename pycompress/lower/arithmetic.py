"""Elementwise functions of two or more tensors, with broadcasting."""

from __future__ import annotations

from functools import reduce

import numpy as np

from . import doubles, whole_numbers
from .activation import clip_codes
from .context import Lowering
from .emit import cast
from .node import Node
from .registry import operator
from .values import Value
from .whole_numbers import EQUAL, GREATER, GREATER_OR_EQUAL, INTEGERS, LESS, LESS_OR_EQUAL, combined, compared, integers

ADD, SUB, MUL, DIV, POW, MIN, MAX, PRELU, MOD = range(9)  # as in kernels/binary.py
BINARY = {"Add": ADD, "Sub": SUB, "Mul": MUL, "Div": DIV}
ABS, RECIPROCAL = 12, 17  # as in kernels/unary.py
COMPARE = {
    "Equal": EQUAL, "Less": LESS, "LessOrEqual": LESS_OR_EQUAL, "Greater": GREATER, "GreaterOrEqual": GREATER_OR_EQUAL,
}  # fmt: skip


@operator(*BINARY)
def binary(ctx: Lowering, node: Node) -> Value:
    if node.input(0, "A").dtype in INTEGERS:
        integers(node, node.input(0), node.input(1, "B"))
        return combined(ctx, node.input(0), node.input(1), BINARY[node.op])  # both kernels use the same op numbers
    if node.input(0).dtype == "f64":
        return doubles.combined(ctx, node, node.op, node.input(0), node.input(1))
    a, b = ctx.f32(node.input(0, "A")), ctx.f32(node.input(1, "B"))
    return ctx.value(ctx.binary(a, b, BINARY[node.op]))


@operator("Sum", "Mean", "Min", "Max")
def several(ctx: Lowering, node: Node) -> Value:
    op = {"Min": MIN, "Max": MAX}.get(node.op, ADD)
    if node.op in ("Min", "Max") and (bounded := _bounded_codes(ctx, node)) is not None:
        return bounded
    if node.op in ("Min", "Max") and node.input(0).dtype in INTEGERS:
        values = [node.input(i) for i in range(len(node.inputs))]
        integers(node, *values)
        return reduce(lambda a, b: combined(ctx, a, b, op), values)  # both kernels use the same op numbers
    kind = node.input(0).dtype
    if kind == "f64":
        total = doubles.combined(
            ctx, node, node.op if op != ADD else "Add", *(node.input(i) for i in range(len(node.inputs)))
        )
        count = Value.constant(np.float64(len(node.inputs)))
        return doubles.combined(ctx, node, "Div", total, count) if node.op == "Mean" else total
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
    """Min or Max of 8-bit codes and one constant, by a table; None for other operands."""
    if len(node.inputs) != 2 or node.input(0).dtype not in ("u8", "i8"):
        return None
    x, bound = sorted((node.input(0), node.input(1)), key=lambda v: not v.runtime)
    if not x.runtime or bound.runtime or bound.size != 1 or len(bound.shape) > len(x.shape):
        return None
    value = bound.data.reshape(())
    return clip_codes(ctx, node, x, (value, None) if node.op == "Max" else (None, value))


def _is_whole(exponent: Value) -> bool:
    """Whether powers are exact integers: of an integer exponent, or of constants without fractions."""
    known = not exponent.runtime and exponent.data is not None
    return exponent.dtype in INTEGERS or known and bool((np.trunc(exponent.data) == exponent.data).all())


@operator("Pow")
def power(ctx: Lowering, node: Node) -> Value:
    exponent = node.input(1)
    if node.input(0).dtype == "f64" or node.input(0).dtype in INTEGERS and not _is_whole(exponent):
        return doubles.power(ctx, node.input(0), exponent)
    if node.input(0).dtype in INTEGERS:
        return whole_numbers.power(ctx, node, node.input(0), exponent)
    x = ctx.f32(node.input(0))
    if not exponent.runtime and exponent.data is not None:
        data = exponent.data.astype(np.float32)
        if not np.array_equal(data.astype(np.float64), exponent.data, equal_nan=True):
            node.refuse("an exponent is not exact in float32")
        if data.size == 1 and data.reshape(()) == 2 and data.ndim <= x.ndim:
            return ctx.value(ctx.binary(x, x, MUL))
        if data.size == 1 and data.reshape(()) == 3 and data.ndim <= x.ndim:
            return ctx.value(ctx.binary(ctx.binary(x, x, MUL), x, MUL))
        if data.size == 1 and data.reshape(()) == -1 and data.ndim <= x.ndim:
            return ctx.value(ctx.unary(x, RECIPROCAL))
    else:
        data = ctx.f32(cast(ctx, exponent, "f32") if exponent.dtype in INTEGERS else exponent)
    return ctx.value(ctx.binary(x, data, POW))


@operator("PRelu")
def prelu(ctx: Lowering, node: Node) -> Value:
    if node.input(0).dtype == "f64":
        return doubles.combined(ctx, node, "PRelu", node.input(0), node.input(1))
    x, slope = ctx.f32(node.input(0)), ctx.f32(node.input(1))
    if ctx.model.legacy and slope.size > 1 and x.ndim > 2:  # one slope per channel
        slope = slope.reshape(-1, *[1] * (x.ndim - 2))
    if slope.ndim > x.ndim:
        node.refuse(f"slope {slope.shape} does not broadcast to {x.shape}")
    return ctx.value(ctx.binary(x, slope, PRELU))


@operator("Mod")
def mod(ctx: Lowering, node: Node) -> Value:
    fmod = node.int("fmod", 0, allowed=(0, 1))
    a, b = node.input(0), node.input(1)
    if a.dtype in INTEGERS:
        integers(node, a, b)
        return combined(ctx, a, b, whole_numbers.FMOD if fmod else whole_numbers.MOD)
    if a.dtype == "f64":
        return doubles.combined(ctx, node, "fmod" if fmod else "mod", a, b)
    if not fmod:
        return ctx.value(doubles.double(ctx, "mod", ctx.f32(a), ctx.f32(b)))
    return ctx.value(ctx.binary(ctx.f32(a), ctx.f32(b), MOD))


@operator(*COMPARE)
def compare(ctx: Lowering, node: Node) -> Value:
    a, b = node.input(0), node.input(1)
    if a.dtype != b.dtype or a.dtype not in ("f32", "f64", "bool", *INTEGERS):
        node.refuse(f"works on float32, float64, integers or bool, both of one type, got {a.dtype} and {b.dtype}")
    return compared(ctx, a, b, COMPARE[node.op])


@operator("IsNaN")
def is_nan(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    if x.dtype != "f64":
        x = ctx.value(ctx.f32(x))
    return compared(ctx, x, x, whole_numbers.NOT_EQUAL)


@operator("IsInf")
def is_inf(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    wide = x.dtype == "f64"
    data = ctx.data(x) if wide else ctx.f32(x)
    positive, negative = (node.int(f"detect_{side}", 1, allowed=(0, 1)) for side in ("positive", "negative"))
    if not positive and not negative:
        return Value.constant(np.broadcast_to(np.bool_(False), x.shape))
    if positive and negative:
        data = doubles.double(ctx, "Abs", data) if wide else ctx.unary(data, ABS)
    infinite = Value.constant(data.dtype.type(np.inf if positive else -np.inf))
    return compared(ctx, ctx.value(data), infinite, EQUAL)
