"""Tensors of other shapes: rearranged, cut, joined; shapes themselves."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import numbers, operator

PADDING = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@operator("Flatten")
def flatten(x, *, axis=1) -> Tensor:
    axis = axis % (x.ndim + 1) if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Reshape")
def reshape(x, shape, *, allowzero=0, images=1) -> Tensor:
    wanted = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(numbers(shape))]
    fits = -1 not in wanted and math.prod(wanted) == x.numel()  # without the batch: some other axis is as long
    if wanted[:1] == [1] and x.shape[:1] == (images,) and not fits:
        wanted[0] = images  # the model was written for one image
    return x.reshape(wanted)


@operator("Squeeze")
def squeeze(x, axes=None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(numbers(axes)))


@operator("Unsqueeze")
def unsqueeze(x, axes) -> Tensor:
    axes = numbers(axes)
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Transpose")
def transpose(x, *, perm=None) -> Tensor:
    return x.permute(perm or tuple(reversed(range(x.ndim))))


@operator("Concat")
def concat(*x, axis) -> Tensor:
    return torch.cat(x, axis)


@operator("Pad")
def pad(x, pads, value=None, axes=None, *, mode="constant") -> Tensor:
    if mode not in PADDING:
        raise NotImplementedError(f"Pad: training supports the modes {', '.join(PADDING)}, not {mode!r}")
    pads, axes = numbers(pads), numbers(axes) if axes is not None else list(range(x.ndim))
    ends = [[0, 0] for _ in range(x.ndim)]
    for i, axis in enumerate(axes):
        ends[axis % x.ndim] = [pads[i], pads[i + len(axes)]]
    if mode != "constant":  # torch takes them for the axes after the first two only
        while len(ends) > 1 and ends[0] == [0, 0] and len(ends) > x.ndim - 2:
            ends = ends[1:]
        return F.pad(x, [n for pair in reversed(ends) for n in pair], mode=PADDING[mode])
    return F.pad(x, [n for pair in reversed(ends) for n in pair], value=numbers(value)[0] if value is not None else 0.0)


@operator("Shape")
def shape_of(x, *, start=0, end=None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


@operator("Slice")
def slice_(x, starts, ends, axes=None, steps=None) -> Tensor:
    starts, ends = numbers(starts), numbers(ends)
    axes = numbers(axes) if axes is not None else range(len(starts))
    steps = numbers(steps) if steps is not None else [1] * len(starts)
    for first, last, axis, step in zip(starts, ends, axes, steps):
        rows = range(x.shape[axis])[slice(first, last, step)]
        if step < 0:
            x = x.index_select(axis, torch.tensor(rows, dtype=torch.int64, device=x.device))
        else:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(rows.start, rows.stop, step),)]
    return x


@operator("Split")
def split(x, sizes=None, *, axis=0, num_outputs=None) -> tuple[Tensor, ...]:
    if sizes is not None:
        return x.split(numbers(sizes), axis)
    return x.split(-(-x.shape[axis] // num_outputs), axis)


@operator("Expand")
def expand(x, shape) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(numbers(shape))))


@operator("Tile")
def tile(x, repeats) -> Tensor:
    return x.repeat(*numbers(repeats))


@operator("DepthToSpace")
def depth_to_space(x, *, blocksize, mode="DCR") -> Tensor:
    n, c, h, w = x.shape
    if mode == "CRD":
        return F.pixel_shuffle(x, blocksize)
    x = x.reshape(n, blocksize, blocksize, c // blocksize**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // blocksize**2, h * blocksize, w * blocksize)


@operator("SpaceToDepth")
def space_to_depth(x, *, blocksize) -> Tensor:
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * blocksize**2, h // blocksize, w // blocksize)


@operator("ConstantOfShape")
def constant_of_shape(shape, *, value=None) -> Tensor:
    value = torch.zeros(1) if value is None else value
    return value.reshape(()).expand(numbers(shape))


@operator("Range")
def range_(start, limit, delta) -> Tensor:
    return torch.arange(*(numbers(n)[0] for n in (start, limit, delta)))


@operator("CumSum")
def cumsum(x, axis, *, exclusive=0, reverse=0) -> Tensor:
    if exclusive or reverse:
        raise NotImplementedError("CumSum: training does not support exclusive and reverse")
    return x.cumsum(numbers(axis)[0])
