"""Functions of one element."""

from __future__ import annotations

import numpy as np

from .context import ACT, Lowering
from .node import Node
from .registry import operator
from .values import Value

UNARY = {"Exp": 9, "Sqrt": 10, "Log": 11, "Abs": 12, "Neg": 13, "Floor": 14, "Ceil": 15, "Round": 16,
         "Reciprocal": 17, "Erf": 18, "Softplus": 23, "Softsign": 24, "Mish": 25, "Sign": 28, "Sin": 30, "Cos": 31,
         "Relu": ACT["relu"], "Sigmoid": ACT["sigmoid"], "Tanh": ACT["tanh"], "HardSwish": ACT["hardswish"]}  # fmt: skip


@operator(*UNARY)
def unary(ctx: Lowering, node: Node) -> Value:
    return ctx.value(ctx.unary(ctx.f32(node.input(0)), UNARY[node.op]))


@operator("Clip")
def clip(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    bounds = []
    for i, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
        if node.opset < 11:
            bounds.append(node.float(name, None))
            bounds[-1] = default if bounds[-1] is None else bounds[-1]
        else:
            given = node.plan_time(i, name)
            bounds.append(default if given is None or given.size == 0 else float(given.reshape(())))
        if np.isnan(bounds[-1]):
            node.refuse("is NaN", name)
    return ctx.value(ctx.unary(ctx.f32(x), ACT["clip"], bounds))


@operator("LeakyRelu")
def leaky_relu(ctx: Lowering, node: Node) -> Value:
    return ctx.value(ctx.unary(ctx.f32(node.input(0)), ACT["leaky"], [node.float("alpha", 0.01), 0]))


@operator("HardSigmoid")
def hard_sigmoid(ctx: Lowering, node: Node) -> Value:
    params = [node.float("alpha", 0.2), node.float("beta", 0.5)]
    return ctx.value(ctx.unary(ctx.f32(node.input(0)), ACT["hardsigmoid"], params))


@operator("Identity", "Dropout")
def identity(ctx: Lowering, node: Node) -> Value:
    node.ignore("ratio", "seed", "is_test")
    if node.has_output(1):
        node.refuse("a mask output is not supported")
    return node.input(0)
