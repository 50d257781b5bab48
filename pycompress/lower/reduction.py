"""Reductions and softmax."""

from __future__ import annotations

from .context import Lowering
from .node import Node
from .registry import operator
from .values import Value


@operator("Softmax", "LogSoftmax")
def softmax(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0))
    axis = node.int("axis", -1 if node.opset >= 13 else 1)
    if not -x.ndim <= axis < x.ndim:
        node.refuse(f"= {axis} is outside {x.ndim} dimensions", "axis")
    axis %= x.ndim
    x = ctx.contiguous(x)
    out = ctx.new(x.shape)
    outer = 1
    for d in x.shape[:axis]:
        outer *= d
    shape = (outer, -1, 1) if node.opset < 13 else (outer, x.shape[axis], -1)
    log = int(node.op == "LogSoftmax")
    if x.size:
        ctx.step("softmax", x=x.reshape(shape), log=log, out=out.reshape(shape), reason="softmax")
    return ctx.value(out)
