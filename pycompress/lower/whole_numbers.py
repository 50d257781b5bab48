"""Elementwise arithmetic of run-time integers and bool: exact, wrapping around."""

from __future__ import annotations

import numpy as np

from ..dtypes import NUMPY, WORD
from .context import Lowering
from .emit import cast, stored
from .node import Node
from .registry import operator
from .values import Value

ADD, SUB, MUL, DIV, POW, MIN, MAX, MOD, FMOD, AND, OR, XOR, SHL, SHR = range(14)  # as in kernels/ibinary.py
EQUAL, LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL, NOT_EQUAL = range(6)  # as in kernels/compare.py
WIDER = {"i8": "i32", "i16": "i32", "u16": "i32"}  # types in which they are computed, then wrapped to their size
SIGNED = ("i8", "i16", "i32", "i64")
UNSIGNED = ("u8", "u16", "u32", "u64")
INTEGERS = SIGNED + UNSIGNED


def integers(node: Node, *values: Value) -> str:
    """The common integer type of `values`; other or mixed types are refused."""
    types = {v.dtype for v in values}
    if len(types) > 1 or types - set(INTEGERS):
        node.refuse(f"works on integers of one type, got {', '.join(v.dtype for v in values)}")
    return types.pop()


def operand(ctx: Lowering, value: Value) -> np.ndarray:
    """The data of integers or bool in a type that the integer kernels accept."""
    if value.dtype == "bool":
        return ctx.data(value).view(np.uint8)
    return ctx.data(cast(ctx, value, WIDER.get(value.dtype, value.dtype)))


def combined(ctx: Lowering, a: Value, b: Value, op: int) -> Value:
    """`a` op `b`, integers of one type or bool."""
    if a.dtype == "i8" and op in (MIN, MAX):  # stored codes have the same order
        return ctx.value(_ibinary(ctx, ctx.codes(a), ctx.codes(b), op), "i8")
    out = _ibinary(ctx, operand(ctx, a), operand(ctx, b), op)
    if a.dtype == "bool":
        return ctx.value(out.view(np.bool_))
    return cast(ctx, ctx.value(out), a.dtype)


def _ibinary(ctx: Lowering, a: np.ndarray, b: np.ndarray, op: int) -> np.ndarray:
    return ctx.elementwise("ibinary", {"a": a, "b": b}, WORD[a.dtype.name], op=op)


def constant(like: Value, number) -> Value:
    """A number in the type of `like`."""
    return Value.constant(np.array(number, NUMPY[like.dtype]))


def compared(ctx: Lowering, a: Value, b: Value, op: int) -> Value:
    """Compare float32, float64, integers of one type, or bool."""
    if a.dtype == "i8":
        x, y = ctx.codes(a), ctx.codes(b)
    elif a.dtype in ("f32", "f64"):
        x, y = ctx.data(a), ctx.data(b)
    else:
        x, y = operand(ctx, a), operand(ctx, b)
    return ctx.value(ctx.elementwise("compare", {"a": x, "b": y}, "bool", op=op))


def chosen(ctx: Lowering, condition: Value, a: Value, b: Value, reason: str = "") -> Value:
    """`a` where the condition holds, `b` elsewhere; both of the same type."""
    x, y = stored(ctx, a), stored(ctx, b)
    bits = np.dtype(f"u{x.itemsize}")
    parts = {"cond": ctx.data(condition), "a": x.view(bits), "b": y.view(bits)}
    out = ctx.elementwise("where", parts, WORD[bits.name], reason=reason)
    return Value(a.dtype, out.shape, out.view(x.dtype), True)


def negated(ctx: Lowering, x: Value) -> Value:
    """-x."""
    return combined(ctx, constant(x, 0), x, SUB)


def absolute(ctx: Lowering, x: Value) -> Value:
    """|x|; the minimum of a type stays as it is."""
    return combined(ctx, x, negated(ctx, x), MAX) if x.dtype in SIGNED else x


def sign(ctx: Lowering, x: Value) -> Value:
    """-1, 0 or 1."""
    positive = combined(ctx, x, constant(x, 1), MIN)
    return combined(ctx, positive, constant(x, -1), MAX) if x.dtype in SIGNED else positive


def relu(ctx: Lowering, x: Value) -> Value:
    """x, or 0 where it is negative."""
    return combined(ctx, x, constant(x, 0), MAX) if x.dtype in SIGNED else x


UNARY = {"Neg": negated, "Abs": absolute, "Sign": sign, "Relu": relu}


def unary(ctx: Lowering, node: Node, x: Value) -> Value:
    """The operator of `node` on integers, if it is one of ``UNARY``."""
    if node.op not in UNARY or (node.op == "Neg" and x.dtype in UNSIGNED):
        node.refuse(f"works on float32{' or signed integers' * (node.op == 'Neg')}, got {x.dtype}")
    return UNARY[node.op](ctx, x)


def clip(ctx: Lowering, node: Node, x: Value, low: Value | None, high: Value | None) -> Value:
    """`x` clipped to bounds of its own type; if they cross, the upper bound wins."""
    for bound, op in ((low, MAX), (high, MIN)):
        if bound is None or bound.size == 0:
            continue
        if bound.size != 1:
            node.refuse(f"a bound must be a scalar, got shape {bound.shape}")
        integers(node, x, bound)
        x = combined(ctx, x, Value(bound.dtype, (), bound.data.reshape(()), bound.runtime), op)
    return x


def power(ctx: Lowering, node: Node, x: Value, exponent: Value) -> Value:
    """`x` to integer powers; results of negative powers are rounded toward zero."""
    if exponent.dtype == "f32" and not exponent.runtime:
        data = ctx.data(exponent)
        if not (np.isfinite(data) & (np.trunc(data) == data) & (abs(data) < 2**31)).all():
            node.refuse("an integer to a power that is not an integer is not supported")
        exponent = Value.constant(data.astype(np.int64))
    if any(v.dtype not in ("i32", "i64") for v in (x, exponent)):
        node.refuse(f"works on int32 and int64 to integer powers, got {x.dtype} and {exponent.dtype}")
    wide = "i64" if "i64" in (x.dtype, exponent.dtype) else "i32"
    return cast(ctx, combined(ctx, cast(ctx, x, wide), cast(ctx, exponent, wide), POW), x.dtype)


@operator("And", "Or", "Xor", "Not")
def logic(ctx: Lowering, node: Node) -> Value:
    values = [node.input(i) for i in range(1 if node.op == "Not" else 2)]
    if any(v.dtype != "bool" for v in values):
        node.refuse(f"works on bool, got {', '.join(v.dtype for v in values)}")
    if node.op == "Not":
        return combined(ctx, values[0], Value.constant(np.array(True)), XOR)
    return combined(ctx, *values, {"And": AND, "Or": OR, "Xor": XOR}[node.op])


@operator("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
def bitwise(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    if node.op == "BitwiseNot":
        integers(node, x)
        return combined(ctx, x, Value.constant(np.invert(constant(x, 0).data)), XOR)
    integers(node, x, node.input(1))
    return combined(ctx, x, node.input(1), {"BitwiseAnd": AND, "BitwiseOr": OR, "BitwiseXor": XOR}[node.op])


@operator("BitShift")
def shift(ctx: Lowering, node: Node) -> Value:
    op = {"LEFT": SHL, "RIGHT": SHR}[node.string("direction", allowed=("LEFT", "RIGHT"))]
    kind = integers(node, node.input(0), node.input(1))
    x, by = (cast(ctx, node.input(i), WIDER.get(kind, kind)) for i in range(2))
    if op == SHL or kind in UNSIGNED:
        return cast(ctx, combined(ctx, x, by, op), kind)
    sign = combined(ctx, combined(ctx, x, constant(x, 0), MIN), constant(x, -1), MAX)  # -1 or 0
    return cast(ctx, combined(ctx, combined(ctx, combined(ctx, x, sign, XOR), by, SHR), sign, XOR), kind)


@operator("Where")
def where(ctx: Lowering, node: Node) -> Value:
    condition, a, b = (node.input(i) for i in range(3))
    if condition.dtype != "bool" or a.dtype != b.dtype:
        node.refuse(f"works on bool and two values of one type, got {condition.dtype}, {a.dtype}, {b.dtype}")
    return chosen(ctx, condition, a, b)


@operator("Trilu")
def trilu(ctx: Lowering, node: Node) -> Value:
    x, offset = node.input(0), node.plan_time(1, "k")
    offset, upper = 0 if offset is None else int(offset.reshape(())), node.int("upper", 1, allowed=(0, 1))
    if len(x.shape) < 2:
        node.refuse(f"works on at least two dimensions, got shape {x.shape}")
    rows, columns = x.shape[-2:]
    ctx.tensor_bytes((rows, columns), "i64")
    away = np.arange(columns) - np.arange(rows)[:, None]
    kept = Value.constant(away >= offset if upper else away <= offset)
    return chosen(ctx, kept, x, constant(x, 0))
