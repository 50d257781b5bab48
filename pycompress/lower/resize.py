"""Resize and Upsample, axis by axis: single rows (nearest) or weighted sums of rows (linear, cubic)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .context import Lowering
from .emit import along, moved, pick
from .node import Node
from .registry import operator
from .values import Value

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
               "tf_half_pixel_for_nn", "tf_crop_and_resize")  # fmt: skip
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True)
class Axis:
    """One axis to be resized; `roi` is the part of it that tf_crop_and_resize reads."""

    axis: int
    size: int
    out: int
    scale: float
    roi: tuple[float, float]


@dataclass(frozen=True)
class Filter:
    """How output rows are computed from input rows."""

    mode: str  # nearest, linear, cubic
    coordinates: str
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    outside: float = 0.0  # the value beyond the image, for tf_crop_and_resize


@operator("Upsample")
def upsample(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    mode = node.string("mode", "nearest", allowed=("nearest", "linear"))
    scales = (
        node.floats("scales") if node.opset < 9 else node.plan_time(1, "scales", required=True).reshape(-1).tolist()
    )
    return _resized(ctx, x, _scaled(node, x, scales, None), Filter(mode, "asymmetric", "simple"))


@operator("Resize")
def resize(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    mode = node.string("mode", "nearest", allowed=("nearest", "linear", "cubic"))
    if node.opset < 11:
        scales = node.plan_time(1, "scales", required=True).reshape(-1).tolist()
        return _resized(ctx, x, _scaled(node, x, scales, None), Filter(mode, "asymmetric", "simple"))
    how = Filter(
        mode,
        node.string("coordinate_transformation_mode", "half_pixel", allowed=COORDINATES),
        node.string("nearest_mode", "round_prefer_floor", allowed=NEAREST),
        node.float("cubic_coeff_a", -0.75),
        bool(node.int("exclude_outside", 0, allowed=(0, 1))),
        bool(node.int("antialias", 0, allowed=(0, 1))),
        node.float("extrapolation_value", 0.0),
    )
    if how.antialias and mode == "nearest":
        node.refuse("is not defined for nearest", "antialias")
    axes = node.ints("axes", list(range(len(x.shape))))
    if any(not -len(x.shape) <= a < len(x.shape) for a in axes) or len({a % len(x.shape) for a in axes}) != len(axes):
        node.refuse(f"= {axes} does not fit shape {x.shape}", "axes")
    axes = [a % len(x.shape) for a in axes]
    roi, scales, sizes = (
        None if v is None or not v.size else v.reshape(-1).tolist()
        for v in (node.plan_time(i, n) for i, n in enumerate(("roi", "scales", "sizes"), 1))
    )
    policy = node.string("keep_aspect_ratio_policy", "stretch", allowed=("stretch", "not_larger", "not_smaller"))
    if (scales is None) == (sizes is None):
        node.refuse("needs either scales or sizes")
    if how.coordinates != "tf_crop_and_resize":
        roi = None
    elif roi is None or len(roi) != 2 * len(axes):
        node.refuse(f"roi {roi} does not fit axes {axes}")
    if sizes is not None:
        return _resized(ctx, x, _sized(node, x, sizes, axes, roi, policy), how)
    return _resized(ctx, x, _scaled(node, x, scales, roi, axes), how)


def _scaled(node: Node, x: Value, scales, roi, axes=None) -> list[Axis]:
    axes = list(range(len(x.shape))) if axes is None else axes
    if len(scales) != len(axes) or any(not s > 0 or not math.isfinite(s) for s in scales):
        node.refuse(f"scales {scales} do not fit shape {x.shape}")
    return _axes(x, axes, [math.floor(x.shape[a] * s) for a, s in zip(axes, scales)], scales, roi)


def _sized(node: Node, x: Value, sizes, axes, roi, policy: str) -> list[Axis]:
    if len(sizes) != len(axes) or any(s < 1 for s in sizes) or any(x.shape[a] == 0 for a in axes):
        node.refuse(f"sizes {sizes} do not fit shape {x.shape}")
    scales = [s / x.shape[a] for a, s in zip(axes, sizes)]
    if policy != "stretch":
        scale = min(scales) if policy == "not_larger" else max(scales)
        scales, sizes = [scale] * len(axes), [int(scale * x.shape[a] + 0.5) for a in axes]
    return _axes(x, axes, sizes, scales, roi)


def _axes(x: Value, axes, sizes, scales, roi) -> list[Axis]:
    roi = [0.0] * len(axes) + [1.0] * len(axes) if roi is None else roi
    return [
        Axis(a, x.shape[a], n, s, (roi[i], roi[i + len(axes)])) for i, (a, n, s) in enumerate(zip(axes, sizes, scales))
    ]


def _resized(ctx: Lowering, x: Value, axes: list[Axis], how: Filter) -> Value:
    axes = [a for a in axes if a.out != a.size or a.scale != 1 or a.roi != (0, 1)]
    for a in axes:
        ctx.rows_fit(a.out)
    if any(a.size == 0 and a.out for a in axes):
        ctx.node.refuse(f"cannot resize an empty axis of shape {x.shape}")
    if how.mode == "nearest" and not any(_outside(a, how).any() for a in axes):

        def rows(data):
            for a in axes:
                data = pick(ctx, data, a.axis, _nearest(a, how))
            return data

        return moved(ctx, x, rows)
    data = ctx.f32(x)
    for a in sorted(axes, key=lambda a: a.out / a.size):  # shrink first: it leaves less to do
        index, weight = taps(a, how)
        outside = _outside(a, how)
        weight = np.where(outside[:, None], 0, weight)
        source, target, data = along(ctx, data, a.axis, a.out)
        if target.size:
            ctx.step(
                "resample", x=source, index=np.ascontiguousarray(index, np.int32),
                weight=np.ascontiguousarray(weight, np.float32), out=target, reason=f"{how.mode} along axis {a.axis}",
            )  # fmt: skip
        if outside.any() and how.outside:
            shape = [a.out if i == a.axis else 1 for i in range(data.ndim)]
            data = ctx.binary(data, np.where(outside, how.outside, 0).astype(np.float32).reshape(shape), 0)
    return ctx.value(data)


def _coordinates(a: Axis, how: Filter, dtype=np.float64) -> np.ndarray:
    """The position of each output row among the input rows."""
    y = np.arange(a.out, dtype=dtype)
    length = a.scale * a.size  # not rounded: scales need not give whole sizes
    match how.coordinates:
        case "asymmetric":
            return y / a.scale
        case "align_corners":
            return y * (a.size - 1) / (length - 1) if length != 1 else np.zeros(a.out)
        case "tf_half_pixel_for_nn":
            return (y + 0.5) / a.scale
        case "tf_crop_and_resize":
            first, last = a.roi
            span = (last - first) * (a.size - 1)
            inside = y * span / (length - 1) if length != 1 else np.full(a.out, span / 2)
            return inside + first * (a.size - 1)
        case "pytorch_half_pixel" if length == 1:
            return np.full(a.out, -0.5)
        case "half_pixel_symmetric":
            return a.size / 2 * (1 - a.out / length) + (y + 0.5) / a.scale - 0.5
    return (y + 0.5) / a.scale - 0.5


def _outside(a: Axis, how: Filter) -> np.ndarray:
    """Which output rows lie outside the image and take the extrapolation value."""
    if how.coordinates != "tf_crop_and_resize":
        return np.zeros(a.out, bool)
    x = _coordinates(a, how)
    return (x < 0) | (x > a.size - 1)


def _nearest(a: Axis, how: Filter) -> np.ndarray:
    x = _coordinates(a, how, np.float32)  # float32 as in other runtimes, so that ties agree
    if how.nearest == "simple":  # before opset 11
        index = np.ceil(x) if a.scale < 1 else np.floor(x)
    elif how.nearest == "round_prefer_floor":
        index = np.ceil(x - 0.5)
    elif how.nearest == "round_prefer_ceil":
        index = np.floor(x + 0.5)
    else:
        index = np.floor(x) if how.nearest == "floor" else np.ceil(x)
    return np.clip(index, 0, max(a.size - 1, 0)).astype(np.int64)


def taps(a: Axis, how: Filter) -> tuple[np.ndarray, np.ndarray]:
    """(rows [out,taps], their weights [out,taps]) of each output row."""
    if how.mode == "nearest":
        return _nearest(a, how)[:, None], np.ones((a.out, 1))
    x = _coordinates(a, how)
    reach = 1 if how.mode == "linear" else 2
    stretch = min(a.scale, 1.0) if how.antialias else 1.0
    first = math.floor(-reach / stretch) + 1
    taps = 2 - 2 * first
    start = np.ceil(x).astype(np.int64) - 1 + first  # an integer x belongs to the cell on its left
    index = start[:, None] + np.arange(taps)
    weight = _kernel(np.abs(index - x[:, None]) * stretch, how)
    if how.antialias:
        weight = weight / weight.sum(1, keepdims=True)
    if how.exclude_outside:
        weight = np.where((index < 0) | (index >= a.size), 0, weight)
        total = weight.sum(1, keepdims=True)
        weight = weight / np.where(total == 0, 1, total)
    return np.clip(index, 0, max(a.size - 1, 0)), weight


def _kernel(d: np.ndarray, how: Filter) -> np.ndarray:
    """The weight of a row at distance `d`."""
    if how.mode == "linear":
        return np.clip(1 - d, 0, 1)
    c = how.cubic
    near = ((c + 2) * d - (c + 3)) * d * d + 1
    far = ((c * d - 5 * c) * d + 8 * c) * d - 4 * c
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
