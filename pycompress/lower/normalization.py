"""Normalizations: batch (folded into constants), layer, instance, group and local response."""

from __future__ import annotations

import numpy as np

from .arithmetic import ADD, DIV, MAX, MUL, SUB
from .constants import own_batch
from .context import Lowering
from .movement import axis_of
from .node import Node
from .reduction import reduced
from .registry import operator
from .values import Value

MEAN, L1, L2, SQRT, RECIPROCAL = 1, 5, 6, 10, 17  # as in kernels/reduce.py and kernels/unary.py


@operator("BatchNormalization")
def batch_normalization(ctx: Lowering, node: Node) -> Value | list[Value]:
    x = ctx.f32(node.input(0, "X"))
    epsilon = node.float("epsilon", 1e-5)
    momentum = node.float("momentum", 0.9)
    node.int("spatial", 1, allowed=(1,))
    parts = [node.input(i, name) for i, name in enumerate(("scale", "B", "input_mean", "input_var"), 1)]
    if x.ndim < 2 or any(p.shape != (x.shape[1],) for p in parts):
        node.refuse(f"parameters of shapes {[p.shape for p in parts]} do not fit an input of shape {x.shape}")
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if own_batch(node):
        return _by_its_own_batch(ctx, node, x, [ctx.f32(p) for p in parts], epsilon, momentum)
    if all(not p.runtime for p in parts):
        scale, offset, mean, var = (ctx.f32(p).astype(np.float64) for p in parts)
        if (var + epsilon <= 0).any():
            node.refuse("a variance is not positive")
        factor = scale / np.sqrt(var + epsilon)
        factor, offset = factor.astype(np.float32), (offset - mean * factor).astype(np.float32)
    else:
        scale, offset, mean, var = (ctx.f32(p) for p in parts)
        deviation = ctx.unary(ctx.binary(var, np.full(1, epsilon, np.float32), ADD), SQRT)
        factor = ctx.binary(scale, deviation, DIV)
        offset = ctx.binary(offset, ctx.binary(mean, factor, MUL), SUB)
    scaled = ctx.binary(x, factor.reshape(shape), MUL)
    return ctx.value(ctx.binary(scaled, offset.reshape(shape), ADD))


def _by_its_own_batch(ctx: Lowering, node: Node, x, parts, epsilon: float, momentum: float) -> list[Value]:
    """BatchNormalization by mean and variance of `x` itself, with the running ones that training keeps."""
    scale, offset, *before = parts
    axes = [i for i in range(x.ndim) if i != 1]
    mean = reduced(ctx, x, axes, MEAN)
    centred = ctx.binary(x, mean, SUB)
    variance = reduced(ctx, ctx.binary(centred, centred, MUL), axes, MEAN)
    deviation = ctx.unary(ctx.binary(variance, np.full((), epsilon, np.float32), ADD), SQRT)
    shape = mean.shape
    y = ctx.binary(ctx.binary(centred, deviation, DIV), scale.reshape(shape), MUL)
    results = [ctx.value(ctx.binary(y, offset.reshape(shape), ADD))]
    kept, new = np.float32(momentum).reshape(()), np.float32(1 - momentum).reshape(())
    for old, now in zip(before, (mean, variance)):
        running = ctx.binary(ctx.binary(old, kept, MUL), ctx.binary(now.reshape(old.shape), new, MUL), ADD)
        results.append(ctx.value(running))
    results += [ctx.value(now.reshape(-1)) for now in (mean, variance)]  # until opset 13
    return results[: node.outputs]


def normalized(ctx: Lowering, x: np.ndarray, axis: int, epsilon: float, scale=None, bias=None, rms: int = 0):
    """`x` normalized over its axes from `axis` on, then times `scale` plus `bias`, which have that many elements."""
    x = ctx.contiguous(x)
    out = ctx.new(x.shape)
    shape = (int(np.prod(x.shape[:axis], dtype=int)), int(np.prod(x.shape[axis:], dtype=int)))
    if x.size:
        ctx.step(
            "layernorm", x=x.reshape(shape), scale=scale, bias=bias, epsilon=np.full(1, epsilon, np.float32), rms=rms,
            out=out.reshape(shape), reason="root of the mean square" if rms else "mean and variance",
        )  # fmt: skip
    return out


@operator("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_normalization(ctx: Lowering, node: Node) -> list[Value]:
    x, scale, bias = ctx.f32(node.input(0)), ctx.f32(node.input(1)), node.optional(2)
    axis = axis_of(node, x.ndim, -1)
    epsilon = node.float("epsilon", 1e-5)
    node.int("stash_type", 1, allowed=(1,))
    tail, rms = x.shape[axis:], int(node.op != "LayerNormalization")
    offset = None if bias is None else ctx.f32(bias)
    parts = [p for p in (scale, offset) if p is not None]
    if all(p.size == int(np.prod(tail, dtype=int)) and p.shape == tail for p in parts):
        flat = [None if p is None else ctx.contiguous(p).reshape(-1) for p in (scale, offset)]
        out = normalized(ctx, x, axis, epsilon, *flat, rms=rms)
    else:
        out = normalized(ctx, x, axis, epsilon, rms=rms)
        for p, op in zip(parts, (MUL, ADD)):
            if node.broadcast(p.shape, x.shape) != x.shape:
                node.refuse(f"a parameter of shape {p.shape} does not fit an input of shape {x.shape}")
            out = ctx.binary(out, p, op)
    results = [ctx.value(out)]
    if node.has_output(1) or node.has_output(2):
        axes = range(axis, x.ndim)
        mean = reduced(ctx, x, axes, MEAN)
        centred = ctx.binary(x, mean, SUB)
        variance = reduced(ctx, ctx.binary(centred, centred, MUL), axes, MEAN)
        deviation = ctx.unary(ctx.binary(variance, np.full((), epsilon, np.float32), ADD), SQRT)
        results += [ctx.value(mean), ctx.value(ctx.unary(deviation, RECIPROCAL))]
    return results[: node.outputs]


@operator("InstanceNormalization", "GroupNormalization")
def group_normalization(ctx: Lowering, node: Node) -> Value:
    x, scale, bias = (ctx.f32(node.input(i)) for i in range(3))
    epsilon = node.float("epsilon", 1e-5)
    n, c = x.shape[:2] if x.ndim > 2 else (0, 0)
    groups = node.int("num_groups") if node.op == "GroupNormalization" else c
    node.int("stash_type", 1, allowed=(1,))
    if x.ndim < 3 or groups < 1 or c % groups:
        node.refuse(f"{groups} groups do not fit an input of shape {x.shape}")
    parameters = groups if node.op == "GroupNormalization" and node.opset < 21 else c
    if scale.shape != (parameters,) or bias.shape != (parameters,):
        node.refuse(f"scale {scale.shape} and bias {bias.shape} must have {parameters} elements")
    x, cells = ctx.contiguous(x), int(np.prod(x.shape[1:], dtype=int))
    out = normalized(ctx, x.reshape(n, groups, cells // groups), 2, epsilon).reshape(n, parameters, cells // parameters)
    out = ctx.binary(ctx.binary(out, scale[:, None], MUL), bias[:, None], ADD)
    return ctx.value(out.reshape(x.shape))


@operator("LpNormalization")
def lp_normalization(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0))
    axis = axis_of(node, x.ndim, -1)
    norm = reduced(ctx, x, [axis], L1 if node.int("p", 2, allowed=(1, 2)) == 1 else L2)
    tiny = np.full((), np.finfo(np.float32).tiny, np.float32)  # so that a norm of 0 gives 0
    return ctx.value(ctx.binary(x, ctx.binary(norm, tiny, MAX), DIV))


@operator("LRN")
def lrn(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0))
    size = node.int("size")
    params = [node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("bias", 1.0)]
    if x.ndim < 2 or not 1 <= size < 2**31:
        node.refuse(f"= {size} does not fit an input of shape {x.shape}", "size")
    last = ctx.contiguous(np.moveaxis(x, 1, -1))
    out = ctx.new(last.shape)
    rows = (-1 if x.size else 0, x.shape[1])
    if x.size:
        ctx.step(
            "lrn", x=last.reshape(rows), size=size, params=np.array(params, np.float32), out=out.reshape(rows),
            reason="local response across channels",
        )  # fmt: skip
    return ctx.value(np.moveaxis(out, -1, 1))
