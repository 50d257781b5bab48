"""Functions of float64, and of what float32 cannot hold, by the kernel that computes each element in double."""

from __future__ import annotations

import sys
from functools import reduce

import numpy as np

from .context import Lowering
from .emit import cast
from .node import Node
from .values import Value

OPS = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Min",
    "Max",
    "PRelu",
    "fmod",
    "mod",
    "Exp",
    "Sqrt",
    "Log",
    "Abs",
    "Neg",
    "Floor",
    "Ceil",
    "Round",
    "Reciprocal",
    "Erf",
    "Sign",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
    "Tanh",
    "Sigmoid",
)  # fmt: skip  as in kernels/dmath.py
TWO = OPS.index("Exp")  # functions in front of this one have two operands
SUM, MEAN, MAX, MIN, PROD, L1, SUM_SQUARE = range(7)  # as in kernels/ireduce.py
REDUCE = {
    "ReduceSum": SUM, "ReduceMean": MEAN, "ReduceMax": MAX, "ReduceMin": MIN, "ReduceProd": PROD, "ReduceL1": L1,
    "ReduceSumSquare": SUM_SQUARE, "ReduceL2": SUM_SQUARE, "ReduceLogSum": SUM,
}  # fmt: skip
OF_NOTHING = (0, np.nan, -np.inf, np.inf, 1, 0, 0)  # by mode
AFTER = {"ReduceL2": "Sqrt", "ReduceLogSum": "Log"}


def double(ctx: Lowering, op: str, a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """A function of ``OPS`` of one or two broadcast arrays of one type, float32 or float64."""
    b = np.zeros((), a.dtype) if b is None else b
    kind = "f64" if a.dtype == np.float64 else "f32"
    return ctx.elementwise("dmath", {"a": a, "b": b}, kind, op=OPS.index(op))


def combined(ctx: Lowering, node: Node, op: str, *values: Value) -> Value:
    """`op` of float64 values, from left to right."""
    if {v.dtype for v in values} != {"f64"}:
        node.refuse(f"works on values of one type, got {', '.join(v.dtype for v in values)}")
    return ctx.value(reduce(lambda a, b: double(ctx, op, a, b), [ctx.data(v) for v in values]))


def unary(ctx: Lowering, node: Node, x: Value) -> Value:
    """The operator of `node` on float64."""
    data = ctx.data(x)
    if node.op == "Relu":
        return ctx.value(double(ctx, "Max", data, np.zeros((), np.float64)))
    if node.op not in OPS[TWO:]:
        node.refuse("works on float32, got f64")
    return ctx.value(double(ctx, node.op, data))


def power(ctx: Lowering, x: Value, exponent: Value) -> Value:
    """`x` to `exponent` in double, as the type of `x`."""
    a, b = (ctx.data(cast(ctx, v, "f64")) for v in (x, exponent))
    return cast(ctx, ctx.value(double(ctx, "Pow", a, b)), x.dtype)


def clip(ctx: Lowering, node: Node, x: Value, low: Value | None, high: Value | None) -> Value:
    """`x` within bounds; if they cross, the upper one wins."""
    for bound, op in ((low, "Max"), (high, "Min")):
        if bound is not None and bound.size:
            x = combined(ctx, node, op, x, Value(bound.dtype, (), bound.data.reshape(()), bound.runtime))
    return x


def reduced(ctx: Lowering, op: str, x: np.ndarray, axes) -> np.ndarray:
    """A reduction of float64 over `axes`, which are kept with extent 1; `op` is ONNX's operator."""
    from .reduction import reduced as reduced_by

    def over(data: np.ndarray, mode: int) -> np.ndarray:
        return reduced_by(ctx, data, axes, mode, "ireduce", "f64", OF_NOTHING[mode])

    if op != "ReduceLogSumExp":
        out = over(x, REDUCE[op])
        return double(ctx, AFTER[op], out) if op in AFTER else out
    top = bounded(ctx, over(x, MAX))
    parts = double(ctx, "Exp", double(ctx, "Sub", x, top))
    return double(ctx, "Add", double(ctx, "Log", over(parts, SUM)), top)


def bounded(ctx: Lowering, x: np.ndarray) -> np.ndarray:
    """`x` with its largest finite number in place of infinity, so that differences from it are never NaN."""
    limit = np.array(sys.float_info.max)
    return double(ctx, "Max", double(ctx, "Min", x, limit), -limit)


def softmax(ctx: Lowering, x: np.ndarray, axis: int, log: bool) -> np.ndarray:
    """Softmax of float64 along `axis`, or its logarithm."""
    centred = double(ctx, "Sub", x, bounded(ctx, reduced(ctx, "ReduceMax", x, [axis])))
    parts = double(ctx, "Exp", centred)
    total = reduced(ctx, "ReduceSum", parts, [axis])
    return double(ctx, "Sub", centred, double(ctx, "Log", total)) if log else double(ctx, "Div", parts, total)
