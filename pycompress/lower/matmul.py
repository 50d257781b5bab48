"""Gemm and MatMul, float and integer."""

from __future__ import annotations

import numpy as np

from .context import NO_PARAMS, Lowering
from .convolution import float_weights, integer_bias, integer_ready, integer_tail, q8, zero_point
from .node import Node
from .registry import operator
from .values import Quant, Value


def product(ctx: Lowering, a: np.ndarray, w: np.ndarray, out: np.ndarray, bias=None, reason: str = "") -> None:
    """out[m,n] = a[m,k] . w[n,k]' + bias, float32."""
    ctx.step(
        "sgemm", a=ctx.rows(a), w=float_weights(ctx, w), bias=bias, act=0, act_params=NO_PARAMS, residual=None,
        out=out, reason=reason,
    )  # fmt: skip


@operator("MatMul")
def matmul(ctx: Lowering, node: Node) -> Value:
    a, b = node.input(0, "A"), node.input(1, "B")
    if not a.shape or not b.shape:
        node.refuse("works on at least one dimension")
    sa, sb = a.shape if len(a.shape) > 1 else (1, *a.shape), b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if sa[-1] != sb[-2]:
        node.refuse(f"shapes {a.shape} and {b.shape} do not multiply")
    shape = (*node.broadcast(sa[:-2], sb[:-2]), sa[-2], sb[-1])
    final = (*shape[:-2], *([shape[-2]] if len(a.shape) > 1 else []), *([shape[-1]] if len(b.shape) > 1 else []))
    if len(b.shape) == 2 and integer_ready(a, _turned(b), None):
        return integer_product(ctx, a, _turned(b), None, final)
    x, w = ctx.f32(a).reshape(sa), ctx.f32(b).reshape(sb)
    out = ctx.new(shape)
    if len(b.shape) <= 2:
        flat = out.reshape(int(np.prod(shape[:-1], dtype=int)), shape[-1])
        product(ctx, x, w.T, flat, reason="matrix product")
    else:
        x, w = np.broadcast_to(x, (*shape[:-2], *sa[-2:])), np.broadcast_to(w, (*shape[:-2], *sb[-2:]))
        for i in np.ndindex(shape[:-2]):
            product(ctx, x[i], w[i].T, out[i], reason="one matrix product of a batch")
    return ctx.value(out.reshape(final))


def _turned(w: Value) -> Value:
    """Weights [k,n] as [n,k]; only what the integer path looks at."""
    q = w.quant
    if q is None or q.value.runtime or q.value.data.ndim != 2:
        return Value(w.dtype, w.shape[::-1], None, w.runtime)
    codes = Value(q.value.dtype, q.value.shape[::-1], q.value.data.T, False)
    axis = 0 if q.scale.size == 1 else 1 - q.axis % 2
    return Value(w.dtype, w.shape[::-1], None, False, Quant(codes, q.scale, q.zero, axis))


def integer_product(ctx: Lowering, a: Value, w: Value, bias: Value | None, shape) -> Value:
    """a . w' on integers, w [n,k], with a float32 output that a following QuantizeLinear takes in."""
    rows = ctx.rows(ctx.codes(a.quant.value))
    weights = q8(w.quant)
    scale = a.quant.scale.astype(np.float32) * weights.scale
    out = ctx.new((rows.shape[0], weights.w.shape[0]))
    tail = integer_tail(weights, integer_bias(bias, scale), scale)
    ctx.step(
        "qgemm", a=rows, azp=np.broadcast_to(zero_point(a.quant), rows.shape[0]), w=weights, **tail, out=out,
        reason="matrix product on integers",
    )  # fmt: skip
    return ctx.value(out.reshape(shape))


@operator("Gemm")
def gemm(ctx: Lowering, node: Node) -> Value:
    a, b, c = node.input(0, "A"), node.input(1, "B"), node.optional(2)
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    trans_a, trans_b = node.int("transA", 0), node.int("transB", 0)
    if len(a.shape) != 2 or len(b.shape) != 2:
        node.refuse(f"works on matrices, got shapes {a.shape} and {b.shape}")
    m, k = a.shape[::-1] if trans_a else a.shape
    n, k2 = b.shape if trans_b else b.shape[::-1]
    if k != k2:
        node.refuse(f"shapes {a.shape} and {b.shape} do not multiply")
    turned = b if trans_b else _turned(b)
    if alpha == beta == 1 and not trans_a and integer_ready(a, turned, c) and (c is None or c.size == n):
        return integer_product(ctx, a, turned, c, (m, n))
    x, w = ctx.f32(a), ctx.f32(b)
    x, w = x.T if trans_a else x, w if trans_b else w.T
    if alpha != 1 and not ctx.is_runtime(w):
        w = w * np.float32(alpha)
    out = ctx.new((m, n))
    row = c is not None and not c.runtime and c.size == n and c.shape[-1:] == (n,) and (alpha == 1 or not b.runtime)
    bias = np.ascontiguousarray(ctx.f32(c).reshape(n) * np.float32(beta)) if row else None
    product(ctx, x, w, out, bias, "fully connected")
    result = out
    if alpha != 1 and ctx.is_runtime(w):
        result = ctx.binary(result, np.full((1, 1), alpha, np.float32), 2)
    if c is not None and not row:
        offset = ctx.f32(c)
        if beta != 1:
            offset = ctx.binary(offset, np.full((1,) * offset.ndim, beta, np.float32), 2)
        if node.broadcast(offset.shape, (m, n)) != (m, n):
            node.refuse(f"C {c.shape} does not broadcast to {(m, n)}")
        result = ctx.binary(result, offset, 0)
    return ctx.value(result)
