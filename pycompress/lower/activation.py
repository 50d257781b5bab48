"""Elementwise functions of one tensor."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from ..dtypes import NUMPY, word
from . import doubles, whole_numbers
from .context import ACT, Lowering
from .emit import cast, flip, stored
from .node import Node
from .quantize_linear import lut
from .registry import operator
from .values import Value

UNARY = {"Exp": 9, "Sqrt": 10, "Log": 11, "Abs": 12, "Neg": 13, "Floor": 14, "Ceil": 15, "Round": 16,
         "Reciprocal": 17, "Erf": 18, "Softplus": 23, "Softsign": 24, "Mish": 25, "Sign": 28, "Sin": 30, "Cos": 31,
         "Tan": 32, "Asin": 33, "Acos": 34, "Atan": 35, "Sinh": 36, "Cosh": 37, "Asinh": 38, "Acosh": 39, "Atanh": 40,
         "Relu": ACT["relu"], "Sigmoid": ACT["sigmoid"], "Tanh": ACT["tanh"], "HardSwish": ACT["hardswish"]}  # fmt: skip

# operator: (code, its attributes with their defaults, in the order of the kernel's parameters)
WITH_PARAMETERS = {
    "LeakyRelu": (ACT["leaky"], (("alpha", 0.01),)),
    "HardSigmoid": (ACT["hardsigmoid"], (("alpha", 0.2), ("beta", 0.5))),
    "Elu": (21, (("alpha", 1.0),)),
    "Selu": (22, (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875))),
    "ThresholdedRelu": (26, (("alpha", 1.0),)),
    "Celu": (27, (("alpha", 1.0),)),
    "Swish": (29, (("alpha", 1.0),)),
}
GELU = {"none": 19, "tanh": 20}


@operator(*UNARY)
def unary(ctx: Lowering, node: Node) -> Value:
    if node.input(0).dtype in whole_numbers.INTEGERS:
        return whole_numbers.unary(ctx, node, node.input(0))
    if node.input(0).dtype == "f64":
        return doubles.unary(ctx, node, node.input(0))
    return ctx.value(ctx.unary(ctx.f32(node.input(0)), UNARY[node.op]))


@operator(*WITH_PARAMETERS)
def with_parameters(ctx: Lowering, node: Node) -> Value:
    op, attributes = WITH_PARAMETERS[node.op]
    params = [node.float(name, default) for name, default in attributes]
    if node.op == "Celu" and params[0] == 0:
        node.refuse("must not be 0", "alpha")
    if node.op == "Swish" and params[0] == 1:
        op = ACT["silu"]
    return ctx.value(ctx.unary(ctx.f32(node.input(0)), op, (params + [0])[:2]))


@operator("Gelu")
def gelu(ctx: Lowering, node: Node) -> Value:
    op = GELU[node.string("approximate", "none", allowed=tuple(GELU))]
    return ctx.value(ctx.unary(ctx.f32(node.input(0)), op))


def clip_codes(ctx: Lowering, node: Node, x: Value, bounds) -> Value:
    """Clip of int8 or uint8 to bounds that are known when planning, by a table."""
    given = [None if b is None else int(b) for b in bounds]
    shift = 128 if x.dtype == "i8" else 0
    low, high = (default if b is None else b for b, default in zip(given, (-shift, 255 - shift)))
    table = np.minimum(np.maximum(np.arange(256) - shift, low), high) + shift
    data = ctx.codes(x)
    out = ctx.new(data.shape, "u8", like=data)
    lut(ctx, data, np.clip(table, 0, 255).astype(np.uint8)[None], out, f"{node.op} on codes")
    return Value(x.dtype, x.shape, out, True)


@operator("Clip")
def clip(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    if x.dtype in whole_numbers.INTEGERS:
        if x.dtype not in ("u8", "i8") or any(v is not None and v.runtime for v in node.inputs[1:3]):
            return whole_numbers.clip(ctx, node, x, node.optional(1), node.optional(2))
        bounds = [node.plan_time(i, name) for i, name in ((1, "min"), (2, "max"))]
        return clip_codes(ctx, node, x, [None if b is None or not b.size else b.reshape(()) for b in bounds])
    if x.dtype == "f64" and node.opset >= 11:
        return doubles.clip(ctx, node, x, node.optional(1), node.optional(2))
    x = ctx.f32(node.input(0))
    if node.opset < 11:
        bounds = [node.float("min", None), node.float("max", None)]
    else:
        given = [node.optional(1), node.optional(2)]
        if any(v is not None and v.runtime for v in given):
            for v, op in zip(given, (6, 5)):
                x = x if v is None else ctx.binary(x, ctx.f32(v).reshape(()), op)
            return ctx.value(x)
        bounds = [None if v is None or v.size == 0 else float(ctx.f32(v).reshape(())) for v in given]
    low, high = (default if b is None else b for b, default in zip(bounds, (-np.inf, np.inf)))
    if np.isnan(low) or np.isnan(high):
        node.refuse("min or max is NaN")
    return ctx.value(ctx.unary(x, ACT["clip"], [low, high]))


@operator("BitCast")
def bit_cast(ctx: Lowering, node: Node) -> Value:
    x, to = node.input(0), node.int("to")
    if to in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        node.refuse("to float16 or bfloat16 is not supported", "to")
    try:
        dtype = word(helper.tensor_dtype_to_np_dtype(to))
    except KeyError:
        node.refuse(f"= {to} is a type that is not supported", "to")
    kind = np.dtype(NUMPY[dtype])
    if kind.itemsize != np.dtype(NUMPY[x.dtype]).itemsize:
        node.refuse(f"= {dtype} has not the size of {x.dtype}", "to")
    if not x.runtime:
        return Value.constant(np.ascontiguousarray(ctx.data(x)).view(kind).reshape(x.shape))
    data = ctx.contiguous(stored(ctx, x)).reshape(-1)
    data = flip(ctx, data) if x.dtype == "i8" else data
    if dtype == "bool":
        return cast(ctx, ctx.value(data.view(np.uint8).reshape(x.shape)), "bool")
    data = flip(ctx, data.view(np.uint8)) if dtype == "i8" else data.view(kind)
    return ctx.value(data.reshape(x.shape), dtype)


@operator("Cast", "CastLike")
def convert(ctx: Lowering, node: Node) -> Value:
    from .constants import onnx_type

    x = node.input(0)
    node.ignore("saturate", "round_mode")
    if node.op == "CastLike":
        return cast(ctx, x, node.input(1).dtype)
    try:
        dtype = onnx_type(node.int("to"))
    except KeyError:
        node.refuse(f"= {node.int('to')} is a type that is not supported", "to")
    return cast(ctx, x, dtype)
