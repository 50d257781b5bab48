"""Pools over windows of the image, and over the whole image."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .convolution import Window, lift, spatial, window
from .node import Node
from .pooling_nd import places, pooled, windows
from .reduction import reduced
from .registry import operator
from .values import Quant, Value

MAX, AVERAGE, AVERAGE_PADDED = range(3)
GLOBAL = {"GlobalAveragePool": 1, "GlobalMaxPool": 2}  # modes of kernels/reduce.py


@operator(*GLOBAL)
def global_pool(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    if len(x.shape) < 3:
        node.refuse(f"works on at least one spatial dimension, got shape {x.shape}")
    return ctx.value(reduced(ctx, ctx.f32(x), range(2, len(x.shape)), GLOBAL[node.op]))


@operator("MaxPool", "AveragePool")
def pool(ctx: Lowering, node: Node) -> Value | list[Value]:
    x = node.input(0)
    out = _over_space(ctx, node, x) if len(x.shape) > 4 else _over_image(ctx, node, x)
    if node.op == "MaxPool" and node.has_output(1):
        order = node.int("storage_order", 0, allowed=(0, 1))
        return [out, places(ctx, ctx.f32(x), windows(node, x.shape), bool(order))]
    return out


def _over_space(ctx: Lowering, node: Node, x: Value) -> Value:
    mode = MAX
    if node.op == "AveragePool":
        mode = AVERAGE_PADDED if node.int("count_include_pad", 0, allowed=(0, 1)) else AVERAGE
    node.ignore("storage_order")
    return ctx.value(pooled(ctx, ctx.f32(x), windows(node, x.shape), mode))


def _over_image(ctx: Lowering, node: Node, x: Value) -> Value:
    n, c, h, w = spatial(node, x)
    rank = len(x.shape) - 2
    kernel = tuple([1] * (2 - rank) + node.ints("kernel_shape", length=rank, minimum=1))
    ceil = node.int("ceil_mode", 0, allowed=(0, 1))
    mode = MAX
    if node.op == "AveragePool":
        mode = AVERAGE_PADDED if node.int("count_include_pad", 0, allowed=(0, 1)) else AVERAGE
    else:
        node.int("storage_order", 0, allowed=(0, 1))
    win: Window = window(node, kernel, h, w)
    oh, ow = win.out(h, w, bool(ceil))
    if oh < 1 or ow < 1:
        node.refuse(f"the window does not fit into shape {x.shape}")
    shape = (n, c, ow) if rank == 1 else (n, c, oh, ow)
    q = x.quant
    if (
        mode == MAX
        and q is not None
        and not q.block
        and (q.scale.size == 1 or q.axis == 1)
        and q.value.dtype in ("u8", "i8")
    ):
        # the maximum code is the code of the maximum, since scales are positive
        codes = _max_of_codes(ctx, q.value, win, oh, ow).reshape(shape)
        return Value("f32", shape, None, True, Quant(ctx.value(codes, q.value.dtype), q.scale, q.zero, q.axis))
    if mode == MAX and x.dtype in ("u8", "i8"):
        return ctx.value(_max_of_codes(ctx, x, win, oh, ow).reshape(shape), x.dtype)
    out, logical = ctx.image((n, c, oh, ow))
    ctx.step(
        "pool", x=ctx.nhwc(lift(ctx.f32(x))), mode=mode, **win.sizes(), pb=win.pb, pr=win.pr, out=out,
        reason="pool over windows",
    )  # fmt: skip
    return ctx.value(logical.reshape(shape))


def _max_of_codes(ctx: Lowering, x: Value, win: Window, oh: int, ow: int) -> np.ndarray:
    """The maximum of each window; int8 is stored with 128 added, which keeps the order."""
    image = ctx.nhwc(lift(ctx.codes(x)))
    out, logical = ctx.image((image.shape[0], image.shape[3], oh, ow), "u8")
    ctx.step(
        "qpool", x=image, mode=MAX, **win.sizes(), pb=win.pb, pr=win.pr, xzp=np.zeros(1, np.int32),
        scale=np.ones(1, np.float32), clamp=np.array([0, 0, 255], np.int32), out=out, reason="maximum of codes",
    )  # fmt: skip
    return logical
