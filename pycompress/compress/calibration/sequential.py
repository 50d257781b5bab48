"""Layers fitted in order: each to the outputs that it has in the whole network, for the inputs that it meets now.

So a layer makes up for the errors of the layers before it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from ...session import InferenceSession
from ..model import graph as g
from ..model.layers import Layer
from .moments import Moments
from .observe import up_to

RIDGE = 1e-3  # of the inputs' mean variance, added to each: what calibration has not seen may still happen
STEPS = 60  # of conjugate gradients, at most
CLOSE = 1e-5  # of its first gradient, which ends them
LEAST = 1e-60  # cost of a weight that is not zero: those cost nothing that are


@dataclass(frozen=True, eq=False)
class Problem:
    """What a layer is fitted to: the weights `w` [n,k] are best, and errors d of a row cost d' h d.

    Attributes
    ----------
    h : float32[k,k], or [k] where a full one would be too large
    offset : float[n], the mean of the outputs that are wanted, without bias; None where there can be no bias
    mean : float[k], of the inputs
    """

    w: np.ndarray
    h: np.ndarray
    offset: np.ndarray | None
    mean: np.ndarray

    def importance(self, refit: bool) -> np.ndarray:
        """What each weight costs, [n,k]: above zero where it is not zero."""
        if self.h.ndim == 1:
            costs = self.h
        else:
            costs = 1 / np.linalg.inv(self.h.astype(float)).diagonal() if refit else self.h.diagonal()
        return np.where(self.w != 0, np.maximum(np.square(self.w) * costs, LEAST), 0.0)

    def fitted(self, mask: np.ndarray) -> np.ndarray:
        """The best weights that are zero outside `mask`."""
        return least_squares(self.w, mask, self.h) if self.h.ndim > 1 else np.where(mask, self.w, 0.0)

    def bias(self, layer: Layer, w: np.ndarray) -> np.ndarray | None:
        """The bias with which `w` has the mean outputs that are wanted."""
        if self.offset is None:
            return None
        return self.offset - w @ self.mean + (0 if layer.bias is None else layer.bias)


def problem(layer: Layer, met: Moments, dense: Moments | None = None, products: np.ndarray | None = None) -> Problem:
    """Of `layer` whose inputs are `met`: to have the outputs that it had, or those that it had for inputs `dense`.

    `products` : [k,k], sums of those inputs times these.
    """
    zero = not layer.correct
    mean, before = (np.zeros(met.k) if zero else p.mean[0] for p in (met, dense or met))
    offset = None if zero else layer.w @ before
    c = met.all.covariance(zero)[0].astype(float)
    if not met.full:
        return Problem(layer.w, np.maximum(c, 1e-12).astype(np.float32), offset, mean)
    share, level = met.shrinkage(zero)
    ridge = (share + RIDGE) * max(float(level[0]), 1e-12) * np.eye(met.k)
    h, w = (1 - share) * c + ridge, layer.w
    if products is not None:
        cross = (1 - share) * (products / max(met.all.count, 1) - np.outer(before, mean)) + ridge
        w = np.where(w != 0, np.linalg.solve(h, cross.T @ w.T).T, 0.0)
    return Problem(w, h.astype(np.float32), offset, mean)


def least_squares(w: np.ndarray, mask: np.ndarray, h: np.ndarray) -> np.ndarray:
    """For each row the v, zero outside `mask`, with the least (v - w)' h (v - w), by conjugate gradients, all rows at once."""
    scale = 1 / h.diagonal()
    v = np.where(mask, w, 0).astype(np.float32)
    r = np.where(mask, (w - v).astype(np.float32) @ h, 0)
    p = z = r * scale
    size = first = (r * z).sum(1)
    for _ in range(STEPS):
        q = np.where(mask, p @ h, 0)
        step = size / np.maximum((p * q).sum(1), np.float32(1e-30))
        v += step[:, None] * p
        r -= step[:, None] * q
        z = r * scale
        size, before = (r * z).sum(1), size
        if (size <= CLOSE**2 * first).all():
            break
        p = z + (size / np.maximum(before, np.float32(1e-30)))[:, None] * p
    return v.astype(float)


def following(layer: Layer, whole: onnx.ModelProto, pruned: onnx.ModelProto, samples: list[dict]) -> Problem:
    """What `layer` is to be fitted to after the layers that are pruned before it."""
    shape = tuple(g.constants(whole)[layer.node.input[1]].dims)
    met, dense = (Moments(layer.node, shape) for _ in range(2))
    products = np.zeros((met.k, met.k), np.float32) if met.full else None
    before, now = (_input_of(layer, model) for model in (whole, pruned))
    for i, sample in enumerate(samples):
        x, y = (p.sampled(f(sample), np.random.default_rng(i)) for p, f in ((dense, before), (met, now)))
        met.count(y)
        dense.count(x)
        if met.full:
            products += x[0].T @ y[0]
    return problem(layer, met, dense, products)


def _input_of(layer: Layer, model: onnx.ModelProto) -> Callable[[dict], np.ndarray]:
    name = layer.node.input[0]
    if name in {i.name for i in model.graph.input}:
        return lambda sample: sample[name]
    run = InferenceSession(up_to(model, [name])).run
    return lambda sample: run(None, sample)[0]
