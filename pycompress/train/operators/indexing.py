"""Elements read and written by their indices."""

from __future__ import annotations

import torch
from torch import Tensor

from .registry import operator

REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("Gather")
def gather(x, at, *, axis=0) -> Tensor:
    axis, at = axis % x.ndim, at % x.shape[axis]
    cells = (*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, at.reshape(-1)).reshape(cells)


@operator("GatherElements")
def gather_elements(x, at, *, axis=0) -> Tensor:
    return x.gather(axis, at.long() % x.shape[axis])


@operator("GatherND")
def gather_nd(x, at, *, batch_dims=0) -> Tensor:
    if batch_dims:
        raise NotImplementedError("GatherND: training does not support batch_dims")
    return x[_places(x, at)]


@operator("ScatterElements", "Scatter")
def scatter_elements(x, at, updates, *, axis=0, reduction="none") -> Tensor:
    at = at.long() % x.shape[axis]
    if reduction == "none":
        return x.scatter(axis, at, updates)
    return x.scatter_reduce(axis, at, updates, REDUCTIONS[reduction])


@operator("ScatterND")
def scatter_nd(x, at, updates, *, reduction="none") -> Tensor:
    if reduction not in ("none", "add"):
        raise NotImplementedError(f"ScatterND: training supports the reductions none and add, not {reduction!r}")
    return x.index_put(_places(x, at), updates, accumulate=reduction == "add")


def _places(x: Tensor, at: Tensor) -> tuple[Tensor, ...]:
    """The index tuples `at` [..., r] as an index for each of the first r axes."""
    sizes = torch.tensor(x.shape[: at.shape[-1]], device=at.device)
    return (at.long() % sizes).unbind(-1)
