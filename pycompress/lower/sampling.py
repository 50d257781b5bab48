"""GridSample, RoiAlign and DeformConv: images at places that are computed at run time."""

from __future__ import annotations

import math

import numpy as np

from .arithmetic import ADD, MAX, MUL, SUB
from .context import Lowering
from .emit import cast, fill, to_shape
from .matmul import batch
from .node import Node
from .reduction import reduced
from .registry import operator
from .values import Value
from .whole_numbers import AND, GREATER_OR_EQUAL, LESS_OR_EQUAL, chosen, combined, compared

MODES = {"nearest": 0, "linear": 1, "bilinear": 1, "cubic": 2, "bicubic": 2}  # as in kernels/sample.py
PADDING = {"zeros": 0, "border": 1, "reflection": 2}
ZEROS, BORDER = 0, 1
MEAN = 1  # as in kernels/reduce.py


def sampled(ctx: Lowering, x: np.ndarray, at: np.ndarray, mode: int, padding: int, corners: int = 1) -> np.ndarray:
    """`x` [b,c,d,h,w] at the places `at` [b,n,3], in cells: [b,n,c]."""
    out = ctx.new((x.shape[0], at.shape[1], x.shape[1]))
    if not x.size:
        fill(ctx, out, 0)
    elif out.size:
        ctx.step(
            "sample",
            x=x,
            at=ctx.contiguous(at),
            mode=mode,
            padding=padding,
            corners=corners,
            out=out,
            reason="at any places",
        )
    return out


def _f32(number) -> np.ndarray:
    return np.float32(number).reshape(())


@operator("GridSample")
def grid_sample(ctx: Lowering, node: Node) -> Value:
    x, grid = ctx.f32(node.input(0, "X")), ctx.f32(node.input(1, "grid"))
    rank = x.ndim - 2
    mode = MODES[node.string("mode", "linear" if node.opset >= 20 else "bilinear", allowed=tuple(MODES))]
    padding = PADDING[node.string("padding_mode", "zeros", allowed=tuple(PADDING))]
    corners = node.int("align_corners", 0, allowed=(0, 1))
    if rank not in (2, 3) or grid.ndim != x.ndim or grid.shape[-1] != rank or grid.shape[0] != x.shape[0]:
        node.refuse(f"grid {grid.shape} does not fit an image of shape {x.shape}")
    if mode == 2 and rank == 3:
        node.refuse("= 'cubic' works on 2 spatial dimensions", "mode")
    sizes = np.array(x.shape[:1:-1], np.float32)  # the grid has x, y, z
    cells = ctx.binary(grid, _f32(1), ADD)
    cells = ctx.binary(cells, (sizes - corners) / 2, MUL)
    cells = cells if corners else ctx.binary(cells, _f32(0.5), SUB)
    at = _places(ctx, [to_shape(ctx, cells[..., k], (x.shape[0], -1)) for k in reversed(range(rank))])
    x = x if rank == 3 else x[:, :, None]
    out = sampled(ctx, x, at, mode, padding, corners)
    return ctx.value(np.moveaxis(out.reshape(*grid.shape[:-1], x.shape[1]), -1, 1))


def _places(ctx: Lowering, columns: list[np.ndarray]) -> np.ndarray:
    """[b,n,3] from the columns [b,n] of the last axes; those in front are 0."""
    at = ctx.new((*columns[-1].shape, 3))
    if len(columns) < 3:
        fill(ctx, at[..., : 3 - len(columns)], 0)
    for k, column in enumerate(columns, 3 - len(columns)):
        ctx.copy(np.broadcast_to(column, at.shape[:2]), at[..., k])
    return at


@operator("RoiAlign")
def roi_align(ctx: Lowering, node: Node) -> Value:
    x, rois, image = ctx.f32(node.input(0, "X")), ctx.f32(node.input(1, "rois")), node.input(2, "batch_indices")
    node.string("mode", "avg", allowed=("avg",))
    half = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    aligned = (
        node.string("coordinate_transformation_mode", half, allowed=("half_pixel", "output_half_pixel")) == "half_pixel"
    )
    height, width, ratio = node.int("output_height", 1), node.int("output_width", 1), node.int("sampling_ratio", 0)
    scale = node.float("spatial_scale", 1.0)
    if ratio == 0:
        node.refuse("= 0 takes numbers of samples that depend on the boxes; it must be positive", "sampling_ratio")
    if (
        x.ndim != 4
        or rois.ndim != 2
        or rois.shape[1] != 4
        or image.shape != rois.shape[:1]
        or min(height, width, ratio) < 1
    ):
        node.refuse(f"boxes {rois.shape} and batch_indices {image.shape} do not fit an image of shape {x.shape}")
    count = len(rois)
    edges = ctx.binary(ctx.binary(rois, _f32(scale), MUL), _f32(0.5 if aligned else 0), SUB)
    axes, inside = [], None
    for first, cells, size in ((1, height, x.shape[2]), (0, width, x.shape[3])):
        low, extent = edges[:, first, None], ctx.binary(edges[:, first + 2, None], edges[:, first, None], SUB)
        extent = extent if aligned else ctx.binary(extent, _f32(1), MAX)
        part = (np.arange(cells * ratio, dtype=np.float32) + np.float32(0.5)) / np.float32(cells * ratio)
        place = ctx.binary(ctx.binary(extent, part[None], MUL), low, ADD)
        near = combined(
            ctx,
            *(
                compared(ctx, ctx.value(place), Value.constant(_f32(end)), op)
                for end, op in ((-1, GREATER_OR_EQUAL), (size, LESS_OR_EQUAL))
            ),
            AND,
        )
        axes.append(place)
        shape = (count, cells * ratio, 1) if first else (count, 1, cells * ratio)
        near = Value("bool", shape, near.data.reshape(shape), True)
        inside = near if inside is None else combined(ctx, inside, near, AND)
    full = (count, height * ratio, width * ratio)
    batches = cast(ctx, image, "f32").data
    columns = [np.broadcast_to(v, full) for v in (batches[:, None, None], axes[0][:, :, None], axes[1][:, None, :])]
    at = _places(ctx, [to_shape(ctx, v, (1, math.prod(full))) for v in columns])
    values = sampled(ctx, x.transpose(1, 0, 2, 3)[None], at, 1, BORDER).reshape(*full, x.shape[1])
    near = Value("bool", (*full, 1), inside.data.reshape(*full, 1), True)
    values = chosen(ctx, near, ctx.value(values), Value.constant(_f32(0))).data
    parts = values.reshape(count, height, ratio, width, ratio, x.shape[1])
    mean = reduced(ctx, reduced(ctx, parts, [4], MEAN), [2], MEAN)
    return ctx.value(np.moveaxis(mean.reshape(count, height, width, x.shape[1]), -1, 1))


@operator("DeformConv")
def deform_conv(ctx: Lowering, node: Node) -> Value:
    x, w, offset = (ctx.f32(node.input(i, name)) for i, name in enumerate(("X", "W", "offset")))
    bias, mask = (None if node.optional(i) is None else ctx.f32(node.optional(i)) for i in (3, 4))
    if x.ndim != 4 or w.ndim != 4 or offset.ndim != 4:
        node.refuse(f"works on 2 spatial dimensions, got X {x.shape}, W {w.shape} and offset {offset.shape}")
    (n, c, h, wide), (outputs, each, kh, kw) = x.shape, w.shape
    strides, dilations = (node.ints(name, [1, 1], length=2, minimum=1) for name in ("strides", "dilations"))
    pads, kernel = node.ints("pads", [0] * 4, length=4, minimum=0), node.ints("kernel_shape", [kh, kw], length=2)
    groups, parts, taps = node.int("group", 1), node.int("offset_group", 1), kh * kw
    oh, ow = offset.shape[2:]
    counted = [
        (d + pads[i] + pads[i + 2] - dilations[i] * (k - 1) - 1) // strides[i] + 1
        for i, (d, k) in enumerate(((h, kh), (wide, kw)))
    ]
    fits = groups > 0 and parts > 0 and kernel == [kh, kw] and c == each * groups and c % parts == 0 == outputs % groups
    if not fits or offset.shape != (n, 2 * parts * taps, *counted) or taps < 1 or min(oh, ow) < 1:
        node.refuse(f"W {w.shape} and offset {offset.shape} do not fit X {x.shape} with {groups} and {parts} groups")
    if mask is not None and mask.shape != (n, parts * taps, oh, ow) or bias is not None and bias.shape != (outputs,):
        node.refuse(f"mask {None if mask is None else mask.shape} or bias does not fit")
    grid = np.meshgrid(*(np.arange(o) * s - p for o, s, p in zip((oh, ow), strides, pads)), indexing="ij")
    cells = np.meshgrid(np.arange(kh) * dilations[0], np.arange(kw) * dilations[1], indexing="ij")
    base = [(cell.reshape(-1, 1, 1) + g).astype(np.float32) for cell, g in zip(cells, grid)]  # [taps,oh,ow]
    moved, columns = offset.reshape(n, parts, taps, 2, oh, ow), ctx.new((n, oh, ow, taps, c))
    for g in range(parts):
        at = [to_shape(ctx, ctx.binary(moved[:, g, :, k], base[k], ADD), (n, taps * oh * ow)) for k in range(2)]
        own = slice(g * (c // parts), (g + 1) * (c // parts))
        values = sampled(ctx, x[:, own, None], _places(ctx, at), 1, ZEROS).reshape(n, taps, oh, ow, -1)
        if mask is not None:
            values = ctx.binary(values, mask.reshape(n, parts, taps, oh, ow)[:, g, ..., None], MUL)
        ctx.copy(values.transpose(0, 2, 3, 1, 4), columns[..., own])
    out = ctx.new((groups, n * oh * ow, outputs // groups))
    rows = columns.reshape(n * oh * ow, taps, groups, each).transpose(2, 0, 3, 1)
    rows = to_shape(ctx, rows, (groups, n * oh * ow, each * taps))
    factors = to_shape(ctx, w, (groups, outputs // groups, each * taps)).transpose(0, 2, 1)
    batch(ctx, rows, factors, out)
    y = out.reshape(groups, n, oh, ow, -1).transpose(1, 0, 4, 2, 3)
    y = to_shape(ctx, y, (n, outputs, oh, ow))
    return ctx.value(y if bias is None else ctx.binary(y, bias.reshape(-1, 1, 1), ADD))
