"""BatchNormalization and its relatives."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .node import Node
from .registry import operator
from .values import Value


@operator("BatchNormalization")
def batch_normalization(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0, "X"))
    epsilon = node.float("epsilon", 1e-5)
    node.ignore("momentum", "spatial")
    node.int("training_mode", 0, allowed=(0,))
    parts = [node.input(i, name) for i, name in enumerate(("scale", "B", "input_mean", "input_var"), 1)]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if all(not p.runtime for p in parts):
        scale, offset, mean, var = (ctx.f32(p).astype(np.float64) for p in parts)
        factor = scale / np.sqrt(var + epsilon)
        factor, offset = factor.astype(np.float32), (offset - mean * factor).astype(np.float32)
    else:
        scale, offset, mean, var = (ctx.f32(p) for p in parts)
        deviation = ctx.unary(ctx.binary(var, np.full(1, epsilon, np.float32), 0), 10)
        factor = ctx.binary(scale, deviation, 3)
        offset = ctx.binary(offset, ctx.binary(mean, factor, 2), 1)
    scaled = ctx.binary(x, factor.reshape(shape), 2)
    return ctx.value(ctx.binary(scaled, offset.reshape(shape), 0))
