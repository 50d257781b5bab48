"""Attention and MultiHeadAttention of com.microsoft, by products, a softmax and a mask that is added."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .emit import to_shape
from .node import Node
from .registry import MICROSOFT, OPERATORS, operator
from .values import Value

OWN = (
    "num_heads", "scale", "mask_filter_value", "unidirectional", "qkv_hidden_sizes", "do_rotary", "rotary_embedding_dim",
    "past_present_share_buffer",
)  # fmt: skip


@operator("Attention", domain=MICROSOFT)
def attention(ctx: Lowering, node: Node) -> list[Value]:
    x, w, bias, past = node.input(0, "input"), node.input(1, "weights"), node.optional(2), node.optional(4)
    for name in ("do_rotary", "past_present_share_buffer"):
        node.int(name, 0, allowed=(0,))
    node.ignore("rotary_embedding_dim")
    heads = node.int("num_heads")
    columns = w.shape[-1] if len(w.shape) == 2 else 0
    sizes = node.ints("qkv_hidden_sizes", [columns // 3] * 3, length=3, minimum=1)
    if len(x.shape) != 3 or sum(sizes) != columns or heads < 1 or any(n % heads for n in sizes) or sizes[0] != sizes[1]:
        node.refuse(f"input {x.shape} and weights {w.shape} do not fit {heads} heads of {sizes} in all")
    y = _op(ctx, node, "MatMul", [x, w])
    y = ctx.f32(y if bias is None else _op(ctx, node, "Add", [y, bias]))
    q, k, v = (_heads(ctx, part, heads) for part in np.split(y, np.cumsum(sizes)[:2], -1))
    before = None
    if past is not None:
        if len(past.shape) != 5 or past.shape[0] != 2:
            node.refuse(f"past of shape {past.shape} must have five dimensions, the first 2 long")
        before = [ctx.value(ctx.f32(past)[i]) for i in range(2)]
    out, *kept = _attended(ctx, node, q, k, v, node.optional(3), node.optional(5), before)
    if not node.has_output(1):
        return [out]
    return [out, _op(ctx, node, "Concat", [_op(ctx, node, "Unsqueeze", [x, _axis(0)]) for x in kept], axis=0)]


@operator("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(ctx: Lowering, node: Node) -> list[Value]:
    if any(node.optional(i) is not None for i in (8, 9)) or node.has_output(3):
        node.refuse("shared buffers, beams and scores as an output are not supported")
    heads, bias = node.int("num_heads"), node.optional(3)
    query, key, value = (
        ctx.f32(v) if v is not None else None for v in (node.input(0), node.optional(1), node.optional(2))
    )
    if query.ndim == 5 and query.shape[3] == 3 and key is None:
        q, k, v = (query[:, :, :, i].transpose(0, 2, 1, 3) for i in range(3))
    elif query.ndim == 3 and key is not None and key.ndim == 5 and key.shape[3] == 2 and value is None:
        q, (k, v) = _heads(ctx, query, heads, node), (key[:, :, :, i].transpose(0, 2, 1, 3) for i in range(2))
    elif query.ndim == 3 and key is not None and value is not None and {key.ndim, value.ndim} <= {3, 4}:
        q, k, v = (x if x.ndim == 4 else _heads(ctx, x, heads, node) for x in (query, key, value))
    else:
        node.refuse(f"cannot read shapes {[None if x is None else x.shape for x in (query, key, value)]}")
    if any(x.shape[1] != heads for x in (q, k, v)) or k.shape[2:3] != v.shape[2:3] or q.shape[3] != k.shape[3]:
        node.refuse(f"{heads} heads do not fit {q.shape}, {k.shape} and {v.shape}")
    if bias is not None:
        sizes = [heads * x.shape[3] for x in (q, k, v)]
        if bias.shape != (sum(sizes),):
            node.refuse(f"bias {bias.shape} must have {sum(sizes)} elements")
        parts = np.split(ctx.f32(bias), np.cumsum(sizes)[:2])
        whole = key is not None and key.ndim == 4  # keys and values that another node made, with their biases
        q, *rest = (
            ctx.binary(x, part.reshape(1, heads, 1, -1), 0) for x, part in zip((q, k, v)[: 3 - 2 * whole], parts)
        )
        k, v = rest or (k, v)
    past = [node.optional(6), node.optional(7)]
    if (past[0] is None) != (past[1] is None):
        node.refuse("needs both a past key and a past value, or neither")
    return _attended(ctx, node, q, k, v, node.optional(4), node.optional(5), past if past[0] is not None else None)[
        : node.outputs
    ]


def _attended(ctx: Lowering, node: Node, q, k, v, mask, added, past) -> list[Value]:
    """(the output [b,s,n*d], all keys and all values [b,n,t,d]) of q, k and v [b,n,s,d]."""
    k, v = ctx.value(k), ctx.value(v)
    if past is not None:
        if any(p.shape[:2] != x.shape[:2] or p.shape[3:] != x.shape[3:] for p, x in zip(past, (k, v))):
            node.refuse(f"past of shapes {[p.shape for p in past]} does not fit {k.shape} and {v.shape}")
        k, v = (_op(ctx, node, "Concat", [p, x], axis=2) for p, x in zip(past, (k, v)))
    (b, n, s, d), t = q.shape, k.shape[2]
    turned = ctx.value(ctx.f32(k).swapaxes(2, 3)) if k.runtime else Value.constant(k.data.swapaxes(2, 3))
    scale = np.float32(node.float("scale", 0.0) or 1 / np.sqrt(d))
    scores = _op(ctx, node, "Mul", [_op(ctx, node, "MatMul", [ctx.value(q), turned]), Value.constant(scale)])
    low = np.float32(node.float("mask_filter_value", -10000.0))
    if node.int("unidirectional", 0, allowed=(0, 1)) and s > 1:
        if t != s + (0 if past is None else past[0].shape[2]):
            node.refuse(f"of {s} queries and {t} keys besides a past: which are later is not defined", "unidirectional")
        later = np.arange(t) > np.arange(t - s, t)[:, None]
        scores = _op(
            ctx, node, "Add", [scores, Value.constant(np.where(later, np.finfo(np.float32).min, np.float32(0)))]
        )
    if mask is not None:
        kept = _kept(ctx, node, mask, b, s, t)
        zero, least = Value.constant(np.float32(0)), Value.constant(low)
        scores = _op(ctx, node, "Add", [scores, _op(ctx, node, "Where", [kept, zero, least])])
    if added is not None:
        if node.broadcast(added.shape, (b, n, s, t)) != (b, n, s, t):
            node.refuse(f"attention_bias {added.shape} does not fit {(b, n, s, t)}")
        scores = _op(ctx, node, "Add", [scores, added])
    y = ctx.f32(_op(ctx, node, "MatMul", [_op(ctx, node, "Softmax", [scores], axis=-1), v]))
    return [ctx.value(to_shape(ctx, y.transpose(0, 2, 1, 3), (b, s, n * y.shape[3]))), k, v]


def _kept(ctx: Lowering, node: Node, mask: Value, b: int, s: int, t: int) -> Value:
    """Which of the `t` keys each query reads, bool that broadcasts to [b,n,s,t]; a mask has numbers of keys, or 0 and 1."""
    if mask.dtype != "i32" or mask.shape not in ((b,), (b, t), (b, s, t)):
        node.refuse(f"a mask must be int32 of shape {(b,)}, {(b, t)} or {(b, s, t)}, got {mask.dtype} {mask.shape}")
    if mask.shape == (b,):
        places = Value.constant(np.arange(t, dtype=np.int32).reshape(1, 1, 1, t))
        return _op(ctx, node, "Less", [places, _op(ctx, node, "Unsqueeze", [mask, _axis(1, 2, 3)])])
    shaped = _op(ctx, node, "Unsqueeze", [mask, _axis(1, 2) if len(mask.shape) == 2 else _axis(1)])
    return _op(ctx, node, "Greater", [shaped, Value.constant(np.int32(0))])


def _heads(ctx: Lowering, x: np.ndarray, heads: int, node: Node | None = None) -> np.ndarray:
    """x [b,s,n*d] as [b,n,s,d]."""
    if node is not None and (heads < 1 or x.shape[-1] % heads):
        node.refuse(f"= {heads} does not divide {x.shape[-1]}", "num_heads")
    return to_shape(ctx, x, (*x.shape[:2], heads, x.shape[-1] // heads)).transpose(0, 2, 1, 3)


def _axis(*axes: int) -> Value:
    return Value.constant(np.array(axes, np.int64))


def _op(ctx: Lowering, node: Node, op: str, inputs: list[Value], **attributes) -> Value:
    return OPERATORS["", op](ctx, node.become(op, inputs, 18, without=OWN, given=attributes))
