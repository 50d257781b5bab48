"""Fused operators of com.microsoft, which ONNX Runtime's optimizer writes into the files it saves."""

from __future__ import annotations

import numpy as np

from .activation import UNARY, WITH_PARAMETERS
from .arithmetic import ADD, MUL
from .context import ACT, Lowering
from .emit import cast
from .microsoft import as_float
from .node import Node
from .normalization import normalized
from .reduction import reduced
from .registry import MICROSOFT, operator
from .values import Value
from .whole_numbers import EQUAL, compared, constant

# activation: (code, how many parameters it has)
ACTIVATIONS = {
    "Relu": (ACT["relu"], 0), "Sigmoid": (ACT["sigmoid"], 0), "Tanh": (ACT["tanh"], 0), "LeakyRelu": (ACT["leaky"], 1),
    "Clip": (ACT["clip"], 2), "HardSigmoid": (ACT["hardsigmoid"], 2), "HardSwish": (ACT["hardswish"], 0),
    "Softplus": (UNARY["Softplus"], 0), "Softsign": (UNARY["Softsign"], 0), "Elu": (WITH_PARAMETERS["Elu"][0], 1),
    "Selu": (WITH_PARAMETERS["Selu"][0], 2), "ThresholdedRelu": (WITH_PARAMETERS["ThresholdedRelu"][0], 1),
}  # fmt: skip
GELU, GELU_TANH, SWISH = 19, 20, 29  # as in kernels/unary.py


def activated(ctx: Lowering, node: Node, x: np.ndarray, params: list[float]) -> Value:
    """Apply the node's attribute `activation`, if it has one, to `x`."""
    name = node.string("activation", "")
    if not name:
        return ctx.value(x)
    if name not in ACTIVATIONS:
        node.refuse(f"= {name!r} is not supported (only {', '.join(ACTIVATIONS)})", "activation")
    op, count = ACTIVATIONS[name]
    if len(params) < count:
        node.refuse(f"{name} needs {count} parameters, got {params}", "activation")
    return ctx.value(ctx.unary(x, op, (params[:count] + [0.0, 0.0])[:2]))


@operator("FusedConv", domain=MICROSOFT)
def fused_conv(ctx: Lowering, node: Node) -> Value:
    params = node.floats("activation_params", [])
    y = ctx.f32(as_float(ctx, node, "Conv", node.inputs[:3], without=("activation", "activation_params")))
    if (z := node.optional(3)) is not None:
        if z.shape != y.shape:
            node.refuse(f"Z {z.shape} must have the shape of the result {y.shape}")
        y = ctx.binary(y, ctx.f32(z), ADD)
    return activated(ctx, node, y, params)


@operator("FusedGemm", domain=MICROSOFT)
def fused_gemm(ctx: Lowering, node: Node) -> Value:
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    params = [p for p in (node.float(name, None) for name in names) if p is not None]
    y = as_float(ctx, node, "Gemm", node.inputs, without=("activation", *names))
    return activated(ctx, node, ctx.f32(y), params)


@operator("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_matmul(ctx: Lowering, node: Node) -> Value:
    a, b = (_turned(ctx, node, node.input(i, side), side) for i, side in enumerate("AB"))
    own = ("alpha", "transA", "transB", "transBatchA", "transBatchB")
    y = ctx.f32(as_float(ctx, node, "MatMul", [a, b], without=own))
    alpha = np.float32(node.float("alpha", 1.0))
    return ctx.value(y if alpha == 1 else ctx.binary(y, np.full((1,) * y.ndim, alpha, np.float32), MUL))


def _turned(ctx: Lowering, node: Node, x: Value, side: str) -> Value:
    """The factor `x` as MatMul takes it: undoes transBatch (first axis after the batch) and trans (last two swapped)."""
    for name, rank, turn in (
        (f"transBatch{side}", 3, lambda v: np.moveaxis(v, 0, -2)),
        (f"trans{side}", 2, lambda v: v.swapaxes(-1, -2)),
    ):
        if node.int(name, 0):
            if len(x.shape) < rank:
                node.refuse(f"needs at least {rank} dimensions, got {x.shape}", name)
            data = turn(ctx.f32(x))
            x = Value(x.dtype, data.shape, data, x.runtime)
    return x


@operator("Gelu", "BiasGelu", "FastGelu", "QuickGelu", domain=MICROSOFT)
def gelu(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0, "X"))
    if (bias := node.optional(1)) is not None:
        x = ctx.binary(x, ctx.f32(bias), ADD)
    if node.op == "QuickGelu":
        return ctx.value(ctx.unary(x, SWISH, [node.float("alpha", 1.702), 0.0]))
    return ctx.value(ctx.unary(x, GELU_TANH if node.op == "FastGelu" else GELU))


@operator("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_layer_normalization(ctx: Lowering, node: Node) -> list[Value]:
    rms = node.op == "SkipSimplifiedLayerNormalization"
    x, skip, gamma = (ctx.f32(node.input(i, name)) for i, name in enumerate(("input", "skip", "gamma")))
    beta, bias = (None, node.optional(3)) if rms else (node.optional(3), node.optional(4))
    if x.ndim < 2 or node.broadcast(x.shape, skip.shape) != x.shape:
        node.refuse(f"skip {skip.shape} does not fit input {x.shape}")
    total = ctx.binary(x, skip, ADD)
    if bias is not None:
        total = ctx.binary(total, ctx.f32(bias), ADD)
    if node.has_output(1) or node.has_output(2):
        node.refuse("mean and inverse deviation are not supported as outputs")
    epsilon = node.float("epsilon", 1e-12)
    scale, shift = gamma, None if beta is None else ctx.f32(beta)
    y = ctx.value(normalized(ctx, total, x.ndim - 1, epsilon, scale, shift, int(rms)))
    return [y, y, y, ctx.value(total)] if node.has_output(3) else [y]


@operator("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_normalization(ctx: Lowering, node: Node) -> list[Value]:
    words, tables = node.input(0, "input_ids"), [node.input(2, "word_embedding"), node.input(3, "position_embedding")]
    segments, mask, places = node.optional(1), node.optional(7), node.optional(8)
    gamma, beta = (ctx.f32(node.input(i, name)) for i, name in ((5, "gamma"), (6, "beta")))
    epsilon = node.float("epsilon", 1e-12)
    node.int("mask_index_type", 0, allowed=(0, 1))
    if len(words.shape) != 2 or any(len(t.shape) != 2 for t in tables) or tables[1].shape[0] < words.shape[1]:
        node.refuse(f"input_ids {words.shape} do not fit embeddings {[t.shape for t in tables]}")
    if places is None:
        places = Value.constant(np.arange(words.shape[1], dtype=np.int64)[None])
    indices = [words, places]
    if segments is not None:
        tables.append(node.input(4, "segment_embedding"))
        indices.append(segments)
    without = ("epsilon", "mask_index_type")
    rows = [ctx.f32(as_float(ctx, node, "Gather", [t, i], without)) for t, i in zip(tables, indices)]
    total = rows[0]
    for row in rows[1:]:
        total = ctx.binary(total, row, ADD)
    made = [ctx.value(normalized(ctx, total, total.ndim - 1, epsilon, gamma, beta))]
    if node.has_output(1) or node.has_output(2):
        made.append(_lengths(ctx, node, words, mask))
    return [*made, ctx.value(total)] if node.has_output(2) else made


def _lengths(ctx: Lowering, node: Node, words: Value, mask: Value | None) -> Value:
    """How many words of each row the mask lets through; 0 without a mask, as onnxruntime has it."""
    if mask is None:
        return Value.constant(np.zeros(words.shape[0], np.int32))
    if mask.dtype != "i32" or mask.shape != words.shape:
        node.refuse(f"mask must be int32 of shape {words.shape}, got {mask.dtype} {mask.shape}")
    ones = cast(ctx, compared(ctx, mask, constant(mask, 1), EQUAL), "i32")
    return ctx.value(reduced(ctx, ones.data, [1], 0, "ireduce", "i32", 0).reshape(-1))
