"""Pools over the image."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .convolution import Window, lift, spatial, window
from .node import Node
from .registry import operator
from .values import Value

MAX, AVERAGE, AVERAGE_PADDED = range(3)


@operator("GlobalAveragePool")
def global_average_pool(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    data = ctx.f32(x)
    if len(x.shape) < 3:
        node.refuse(f"works on at least one spatial dimension, got shape {x.shape}")
    n, c = x.shape[:2]
    cells = int(np.prod(x.shape[2:], dtype=int))
    if len(x.shape) == 4:
        rows = ctx.nhwc(data)
        rows = ctx.contiguous(rows).reshape(n, cells, c)
        out = ctx.new((n, c))
        ctx.step("reduce", x=rows, mode=1, out=out, reason="mean over the image")
        return ctx.value(out.reshape(n, c, 1, 1))
    flat = ctx.contiguous(data).reshape(n * c, cells, 1)
    out = ctx.new((n * c, 1))
    ctx.step("reduce", x=flat, mode=1, out=out, reason="mean over the image")
    return ctx.value(out.reshape(n, c, *[1] * (len(x.shape) - 2)))


@operator("MaxPool", "AveragePool")
def pool(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    n, c, h, w = spatial(node, x)
    rank = len(x.shape) - 2
    kernel = tuple([1] * (2 - rank) + node.ints("kernel_shape", length=rank, least=1))
    ceil = node.int("ceil_mode", 0, allowed=(0, 1))
    mode = MAX
    if node.op == "AveragePool":
        mode = AVERAGE_PADDED if node.int("count_include_pad", 0, allowed=(0, 1)) else AVERAGE
    else:
        node.int("storage_order", 0, allowed=(0, 1))
        if node.has_output(1):
            node.refuse("the output Indices is not supported")
    win: Window = window(node, kernel, h, w)
    oh, ow = win.out(h, w, bool(ceil))
    out, logical = ctx.image((n, c, oh, ow))
    ctx.step(
        "pool", x=ctx.nhwc(lift(ctx.f32(x))), mode=mode, **win.sizes(), pb=win.pb, pr=win.pr, out=out,
        reason="pool over windows",
    )  # fmt: skip
    return ctx.value(logical.reshape(n, c, ow) if rank == 1 else logical)
