"""The integer operators of com.microsoft: each is lowered as DequantizeLinear, the float operator, QuantizeLinear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .constants import PLAN_TIME
from .context import Lowering
from .emit import cast
from .node import Node
from .qlinear import dequantized, quantized, sum_bias, weights
from .registry import MICROSOFT, OPERATORS, operator
from .values import Value

PLAN_TIME |= {
    (MICROSOFT, op): indices
    for op, indices in {
        "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "QLinearAdd": (1, 2, 4, 5, 6, 7),
        "QLinearMul": (1, 2, 4, 5, 6, 7), "QGemm": (1, 2, 4, 5, 7, 8),
        **{f"QLinear{op}": (1, 2, 3, 4) for op in (
            "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu", "Softmax")},
        "MatMulIntegerToFloat": (5,), "DynamicQuantizeMatMul": (3,),
    }.items()
}  # fmt: skip


def as_float(ctx: Lowering, node: Node, op: str, inputs: list[Value | None], without=()) -> Value:
    """The result of the ONNX operator `op` on `inputs`, with this node's attributes."""
    return OPERATORS["", op](ctx, node.become(op, inputs, ctx.model.opsets.get("", 21), without))


@operator("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def two(ctx: Lowering, node: Node) -> Value:
    a, b = dequantized(ctx, node, 0), dequantized(ctx, node, 3)
    y = as_float(ctx, node, node.op.removeprefix("QLinear"), [a, b])
    return quantized(ctx, node, y, 6, default=a.quant.value.dtype)


@operator("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearLeakyRelu", domain=MICROSOFT)
def one(ctx: Lowering, node: Node) -> Value:
    x = dequantized(ctx, node, 0)
    op = node.op.removeprefix("QLinear")
    if "Pool" in op:
        node.int("channels_last", 0, allowed=(0,))
    return quantized(ctx, node, as_float(ctx, node, op, [x]), 3, default=x.quant.value.dtype)


@operator("QLinearSoftmax", domain=MICROSOFT)
def softmax(ctx: Lowering, node: Node) -> Value:
    x = dequantized(ctx, node, 0)
    y = OPERATORS["", "Softmax"](ctx, node.become("Softmax", [x], node.int("opset")))
    return quantized(ctx, node, y, 3, default=x.quant.value.dtype)


@operator("QLinearConcat", domain=MICROSOFT)
def concat(ctx: Lowering, node: Node) -> Value:
    if len(node.inputs) < 5 or len(node.inputs) % 3 != 2:
        node.refuse(f"takes a scale, a zero point and then three inputs per part, got {len(node.inputs)}")
    parts = [dequantized(ctx, node, i) for i in range(2, len(node.inputs), 3)]
    return quantized(ctx, node, as_float(ctx, node, "Concat", parts), 0)


@operator("QGemm", domain=MICROSOFT)
def qgemm(ctx: Lowering, node: Node) -> Value:
    a = dequantized(ctx, node, 0)
    b, given = weights(ctx, node, 3, axis=0 if node.int("transB", 0) else 1)
    alpha = np.float32(node.float("alpha", 1.0))
    if alpha <= 0:
        node.refuse(f"= {alpha} must be positive", "alpha")
    q = b.quant
    b = replace(b, quant=replace(q, scale=q.scale * alpha))
    y = as_float(ctx, node, "Gemm", [a, b, sum_bias(node, 6, a, b, given)], without=("alpha",))
    return quantized(ctx, node, y, 7) if node.optional(7) is not None else y


@operator("MatMulIntegerToFloat", domain=MICROSOFT)
def matmul_integer_to_float(ctx: Lowering, node: Node) -> Value:
    a, b, *scales = (node.input(i, name) for i, name in enumerate(("A", "B", "a_scale", "b_scale")))
    return _scaled_product(ctx, node, [a, b, node.optional(4), node.optional(5)], scales, node.optional(6))


@operator("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_quantize_matmul(ctx: Lowering, node: Node) -> Value:
    a, b, scale = (node.input(i, name) for i, name in enumerate(("A", "B", "b_scale")))
    codes, own, zero = OPERATORS["", "DynamicQuantizeLinear"](ctx, node.become("DynamicQuantizeLinear", [a], 11))
    return _scaled_product(ctx, node, [codes, b, zero, node.optional(3)], [own, scale], node.optional(4))


def _scaled_product(ctx: Lowering, node: Node, factors, scales: list[Value], bias: Value | None) -> Value:
    """As the nodes that ONNX Runtime fused to this one: MatMulInteger, Cast, Mul, Mul, Add."""
    columns = factors[1].shape[-1:]
    for name, value, shapes in (
        ("a_scale", scales[0], ((), (1,))),
        ("b_scale", scales[1], ((), (1,), columns)),
        ("bias", bias, (columns,)),
    ):
        if value is not None and (value.dtype != "f32" or value.shape not in shapes):
            node.refuse(f"{name} must be float32 of one of the shapes {shapes}, got {value.dtype} {value.shape}")
    total = OPERATORS["", "MatMulInteger"](ctx, node.become("MatMulInteger", factors, 10))
    y = as_float(ctx, node, "Mul", [cast(ctx, total, "f32"), as_float(ctx, node, "Mul", scales)])
    return y if bias is None else as_float(ctx, node, "Add", [y, bias])
