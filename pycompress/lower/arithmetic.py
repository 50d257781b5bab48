"""Functions of two elements, with broadcasting."""

from __future__ import annotations

from .context import Lowering
from .node import Node
from .registry import operator
from .values import Value

BINARY = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3, "Pow": 4}


@operator(*BINARY)
def binary(ctx: Lowering, node: Node) -> Value:
    a, b = ctx.f32(node.input(0, "A")), ctx.f32(node.input(1, "B"))
    return ctx.value(ctx.binary(a, b, BINARY[node.op]))
