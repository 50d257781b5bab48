"""Resize: weighted sums of rows, axis by axis, as the engine has them; by torch's own function where it is the same."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ...lower.resize import Axis, Filter, taps
from .registry import numbers, operator

LINEAR = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}  # torch's `align_corners`


@operator("Resize")
def resize(
    x, roi=None, scales=None, sizes=None, *, axes=None, mode="nearest", coordinate_transformation_mode="half_pixel",
    nearest_mode="round_prefer_floor", cubic_coeff_a=-0.75, exclude_outside=0, antialias=0, extrapolation_value=0.0,
    keep_aspect_ratio_policy="stretch",
) -> Tensor:  # fmt: skip
    for word in (coordinate_transformation_mode, keep_aspect_ratio_policy):
        if word in ("tf_crop_and_resize", "not_larger", "not_smaller"):
            raise NotImplementedError(f"Resize: training does not support {word}")
    how = Filter(
        mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(exclude_outside), bool(antialias)
    )
    axes = range(x.ndim) if axes is None else [a % x.ndim for a in axes]
    scales, sizes = ([] if v is None else numbers(v) for v in (scales, sizes))
    if sizes:
        sized = {a: (n, n / x.shape[a]) for a, n in zip(axes, sizes)}
    else:
        sized = {a: (math.floor(x.shape[a] * s), s) for a, s in zip(axes, scales)}
    changed = [Axis(a, x.shape[a], *sized[a], (0.0, 1.0)) for a in sized if a and sized[a] != (x.shape[a], 1)]
    if _as_torch(x, changed, how):
        shape = [sized.get(a, (x.shape[a],))[0] for a in (2, 3)]
        more = {"align_corners": LINEAR[how.coordinates]} if mode == "linear" else {}
        return F.interpolate(x, shape, mode="bilinear" if mode == "linear" else "nearest", **more)
    for axis in changed:
        index, weight = _rows(axis, how)
        shape = [-1 if i == axis.axis else 1 for i in range(x.ndim)]
        x = sum(
            x.index_select(axis.axis, index[:, t].to(x.device)) * weight[:, t].reshape(shape).to(x.device)
            for t in range(index.shape[1])
        )
    return x


def _as_torch(x: Tensor, changed: list[Axis], how: Filter) -> bool:
    """Whether F.interpolate reads the same rows with the same weights."""
    if x.ndim != 4 or any(a.axis < 2 or a.out == 1 or a.size * a.scale != a.out for a in changed):
        return False
    if how.mode == "nearest":
        whole = all(a.out % a.size == 0 for a in changed)
        return whole and (how.coordinates, how.nearest) in (
            ("asymmetric", "floor"),
            ("half_pixel", "round_prefer_floor"),
        )
    return how.mode == "linear" and how.coordinates in LINEAR and not how.antialias and not how.exclude_outside


@lru_cache(256)
def _rows(axis: Axis, how: Filter) -> tuple[Tensor, Tensor]:
    index, weight = taps(axis, how)
    return torch.from_numpy(index), torch.from_numpy(weight).float()
