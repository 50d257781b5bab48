"""Gemm and MatMul, float and integer."""

from __future__ import annotations

import math

import numpy as np

from . import int4
from .context import NO_PARAMS, Lowering, reshaped
from .convolution import float_weights
from .integer import float_tail, integer_product, integer_ready, zero_point
from .node import Node
from .registry import OPERATORS, operator
from .values import Quant, Value

DOUBLES = 1 << 24  # products of float64 in one node: they are all written out before they are summed


def product(ctx: Lowering, a: np.ndarray, w: np.ndarray, out: np.ndarray, bias=None, reason: str = "") -> None:
    """out[m,n] = a[m,k] . w[n,k]' + bias, float32."""
    ctx.step(
        "sgemm", a=ctx.rows(a), w=float_weights(ctx, w), bias=bias, act=0, act_params=NO_PARAMS, residual=None,
        out=out, reason=reason,
    )  # fmt: skip


@operator("MatMul")
def matmul(ctx: Lowering, node: Node) -> Value:
    a, b = node.input(0, "A"), node.input(1, "B")
    sa, sb, shape, final = matmul_shapes(node, a, b)
    if a.dtype == b.dtype == "f64":
        return ctx.value(_of_doubles(ctx, node, ctx.data(a).reshape(sa), ctx.data(b).reshape(sb)).reshape(final))
    out = ctx.new(shape)
    turned = _transposed(Value(b.dtype, sb, None, b.runtime, b.quant))
    four = int4.int4_weights(ctx, a, turned, None) if len(b.shape) <= 2 else None
    if four is not None:
        flat = out.reshape(int(np.prod(shape[:-1], dtype=int)), shape[-1])
        int4.q4_product(ctx, a, lambda x: ctx.rows(x.reshape(sa)), four, None, flat, "matrix product")
        return ctx.value(out.reshape(final))
    turned = int4.widened(turned)
    if turned.quant is not None and integer_ready(a, turned, None):
        codes = ctx.codes(a.quant.value).reshape(sa)
        on_integers(ctx, codes, zero_point(a.quant), turned.quant, float_tail(a.quant, turned.quant, None), out)
        return ctx.value(out.reshape(final))
    x, w = ctx.f32(a).reshape(sa), ctx.f32(b).reshape(sb)
    if len(b.shape) <= 2:
        flat = out.reshape(int(np.prod(shape[:-1], dtype=int)), shape[-1])
        product(ctx, x, w.T, flat, reason="matrix product")
    else:
        batch(ctx, np.broadcast_to(x, (*shape[:-2], *sa[-2:])), np.broadcast_to(w, (*shape[:-2], *sb[-2:])), out)
    return ctx.value(out.reshape(final))


def _of_doubles(ctx: Lowering, node: Node, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x[...,m,k] . w[...,k,n], float64: no kernel multiplies such matrices, so all products are written and summed."""
    count = math.prod(node.broadcast(x.shape[:-2], w.shape[:-2])) * x.shape[-2] * x.shape[-1] * w.shape[-1]
    if count > DOUBLES:
        node.refuse(f"of float64 is for up to {DOUBLES} products, this one has {count}; convert the model to float32")
    inputs = [Value("f64", v.shape, v, ctx.is_runtime(v)) for v in (x, w)]
    equation, own = {"equation": "...ij,...jk->...ik"}, ("alpha", "beta", "transA", "transB")
    return ctx.data(OPERATORS["", "Einsum"](ctx, node.become("Einsum", inputs, 12, without=own, given=equation)))


def _gemm_of_doubles(ctx: Lowering, node: Node, x: np.ndarray, w: np.ndarray) -> Value:
    def times(value: Value | None, name: str) -> Value | None:
        factor = node.float(name, 1.0)
        if value is None or factor == 1:
            return value
        return OPERATORS["", "Mul"](ctx, node.become("Mul", [value, Value.constant(np.float64(factor))], 14))

    y, c = times(ctx.value(_of_doubles(ctx, node, x, w)), "alpha"), times(node.optional(2), "beta")
    return y if c is None else OPERATORS["", "Add"](ctx, node.become("Add", [y, c], 14))


MANY = 32  # matrices; from here on one step multiplies them all, each on one thread
SMALL = 1 << 18  # elements of the right factor; up to here each thread packs its own


def batch(ctx: Lowering, x: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """out[...,m,n] = x[...,m,k] . w[...,k,n], float32, matrix by matrix."""
    outer, k = out.shape[:-2], x.shape[-1]
    enough = MANY if ctx.is_runtime(w) else 16 * MANY  # constants are packed while planning, unless there are very many
    if math.prod(outer) < enough or not out.size or not k or w.shape[-1] * k > SMALL:
        for i in np.ndindex(outer):
            product(ctx, x[i], w[i].T, out[i], reason="one matrix product of a batch")
        return
    x = x if k == 1 or x.strides[-1] == x.itemsize else ctx.contiguous(x)
    depth = next(d for d in range(len(outer)) if all(_stack(v[(0,) * d]) is not None for v in (x, w)))
    if math.prod(outer[:depth]) > MANY:
        x, w, depth = ctx.contiguous(x), ctx.contiguous(w), 0
    for i in np.ndindex(outer[:depth]):
        a, b, c = (_stack(v[i]) for v in (x, w, out))
        ctx.step("matmul", a=a, b=b, out=c, reason=f"{len(c)} matrix products in one step")


def _stack(x: np.ndarray) -> np.ndarray | None:
    """x[...,m,n] as [g,m,n] without a copy; None if its strides do not allow it."""
    return reshaped(x, (math.prod(x.shape[:-2]), *x.shape[-2:]))


def matmul_shapes(node: Node, a: Value, b: Value) -> tuple[tuple[int, ...], ...]:
    """The shapes of both factors as matrices, of their product, and of the node's output."""
    if not a.shape or not b.shape:
        node.refuse("works on at least one dimension")
    sa, sb = a.shape if len(a.shape) > 1 else (1, *a.shape), b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if sa[-1] != sb[-2]:
        node.refuse(f"shapes {a.shape} and {b.shape} do not multiply")
    outer = node.broadcast(sa[:-2], sb[:-2])
    shape = (*outer, sa[-2], sb[-1])
    final = (*outer, *([sa[-2]] if len(a.shape) > 1 else []), *([sb[-1]] if len(b.shape) > 1 else []))
    return sa, sb, shape, final


def _transposed(w: Value) -> Value:
    """Weights [...,k,n] as [n,k,...], with only the fields that the integer path reads."""
    q = w.quant
    if q is None or q.value.data is None:
        return Value(w.dtype, w.shape[::-1], None, w.runtime)
    data = q.value.data.reshape(w.shape)
    codes = Value(q.value.dtype, w.shape[::-1], data.T, q.value.runtime)
    axis = 0 if q.scale.size == 1 and not q.block else len(w.shape) - 1 - q.axis
    scale, zero = q.scale, q.zero
    if q.block:
        scale, zero = (v.reshape(*v.shape, *[1] * (len(w.shape) - v.ndim)).T for v in (scale, zero))
    return Value(w.dtype, w.shape[::-1], None, w.runtime, Quant(codes, scale, zero, axis, q.block, q.bits))


def on_integers(
    ctx: Lowering, a: np.ndarray, azp: np.ndarray, wq: Quant, end: dict[str, object], out: np.ndarray
) -> None:
    """out[...,m,n] from the codes a [...,m,k], with zero points azp ([1] or [m]), and weights [n,k,...]."""
    m, n = out.shape[-2:]
    if wq.value.data.ndim == 2:
        rows = ctx.rows(a)
        if azp.size > 1 and len(rows) != m:
            azp = ctx.contiguous(np.broadcast_to(azp, (len(rows) // m, m))).reshape(-1)
        integer_product(ctx, rows, azp, wq, end, out.reshape(len(rows), n))
        return
    batch = out.shape[:-2]
    codes = np.broadcast_to(wq.value.data.T, (*batch, a.shape[-1], n))
    a = np.broadcast_to(a, (*batch, *a.shape[-2:]))
    for i in np.ndindex(batch):
        one = Value(wq.value.dtype, (n, a.shape[-1]), codes[i].T, wq.value.runtime)
        integer_product(ctx, ctx.rows(a[i]), azp, Quant(one, wq.scale, wq.zero, 0), end, out[i])


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
    if a.dtype == b.dtype == "f64":
        return _gemm_of_doubles(
            ctx, node, *(v.T if t else v for v, t in ((ctx.data(a), trans_a), (ctx.data(b), trans_b)))
        )
    turned = b if trans_b else _transposed(b)
    row_like = c is None or c.shape in ((n,), (1, n))
    plain = alpha == beta == 1 and not trans_a and row_like
    four = int4.int4_weights(ctx, a, turned, c) if plain else None
    if four is not None:
        out = ctx.new((m, n))
        int4.q4_product(ctx, a, ctx.rows, four, c, out, "matrix product")
        return ctx.value(out)
    turned = int4.widened(turned)
    if plain and integer_ready(a, turned, c):
        out = ctx.new((m, n))
        end = float_tail(a.quant, turned.quant, c)
        on_integers(ctx, ctx.codes(a.quant.value), zero_point(a.quant), turned.quant, end, out)
        return ctx.value(out)
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
