"""Fits layers in order: each to its outputs in the original network, given its inputs in the changed network.

So a layer also compensates for the errors of the layers before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from ..model import graph as g
from ..model.layers import Layer
from .engine import runner
from .moments import Moments
from .observe import up_to

RIDGE = 1e-3  # of the inputs' mean variance, added to each because calibration does not show all inputs
FLOOR = 1e-12  # of the mean variance: the minimum variance that an input is given
STEPS = 60  # maximum number of conjugate gradient steps
CLOSE = 1e-5  # of the first gradient: at this size the iteration ends
MIN_COST = 1e-60  # cost of a weight that is not zero; zeros cost nothing


@dataclass(frozen=True, eq=False)
class Problem:
    """The least-squares problem of a layer: the weights `w` [n,k] are optimal, and an error d of a row costs d' h d.

    Attributes
    ----------
    h : float32[k,k], or [k] if a full matrix would be too large
    offset : float[n], the mean of the wanted outputs, without bias; None if there can be no bias
    mean : float[k], of the inputs
    level : the mean variance of the inputs, by which `h` is divided so that it stays within float32
    """

    w: np.ndarray
    h: np.ndarray
    offset: np.ndarray | None
    mean: np.ndarray
    level: float = 1.0

    def importance(self, refit: bool) -> np.ndarray:
        """The cost of removing each weight, [n,k]: positive unless the weight is zero."""
        if self.h.ndim == 1:
            costs = self.h
        elif refit:
            unit, deviation = unit_diagonal(self.h)
            costs = np.square(deviation) / np.linalg.inv(unit).diagonal()
        else:
            costs = self.h.diagonal()
        return np.where(self.w != 0, np.maximum(np.square(self.w) * costs, MIN_COST) * self.level, 0.0)

    def fitted(self, mask: np.ndarray, plain: np.ndarray) -> np.ndarray:
        """The best weights that are zero outside `mask`; a row of `plain` is kept if it is as good."""
        if self.h.ndim == 1:
            return np.where(mask, self.w, 0.0)
        v = least_squares(self.w, mask, self.h)
        better = self.errors(v) < self.errors(plain)  # false if v is not finite
        return np.where(better[:, None], v, plain)

    def errors(self, v: np.ndarray) -> np.ndarray:
        """The costs of the weights `v` [n,k], float64[n]."""
        off, h = v - self.w, self.h.astype(float)
        return np.einsum("nk,nk->n", off * h if h.ndim == 1 else off @ h, off)

    def bias(self, layer: Layer, w: np.ndarray) -> np.ndarray | None:
        """The bias with which `w` gives the wanted mean outputs."""
        if self.offset is None:
            return None
        return self.offset - w @ self.mean + (0 if layer.bias is None else layer.bias)


def problem(layer: Layer, met: Moments, dense: Moments | None = None, products: np.ndarray | None = None) -> Problem:
    """The problem of `layer` with inputs `met`: to keep its outputs, or to have those that it had for inputs `dense`.

    Covariances are shrunk toward equal variances, and damped: weights of inputs that hardly vary change little.

    `products` : [k,k], sums of the inputs of `dense` times those of `met`, both as `Moments.centered` gives them.
    """
    zero = not layer.correct
    mean, before = (np.zeros(met.k) if zero else p.mean[0] for p in (met, dense or met))
    offset = None if zero else layer.w @ before
    c = met.second(met.all, zero)[0]
    level = float(c.mean() if c.ndim == 1 else c.diagonal().mean()) or 1.0
    c /= level
    if not met.full:
        return Problem(layer.w, np.maximum(c, FLOOR).astype(np.float32), offset, mean, level / met.unit**2)
    share = met.shrinkage(zero)[0]
    damping = (share + RIDGE) * np.eye(met.k)  # the mean variance is 1
    h, w = (1 - share) * c + damping, layer.w
    if products is not None:
        cross = products / max(met.all.count, 1) - np.outer(*(p.all.mean[0] / p.unit for p in (dense, met)))
        if zero:
            cross += np.outer(dense.mean[0], met.mean[0])
        cross *= met.unit**2 / level
        cross = (1 - share) * cross + damping
        unit, deviation = unit_diagonal(h)
        target = np.linalg.solve(unit, (cross / deviation[None]).T @ w.T).T / deviation
        w = np.where(w != 0, target, 0.0) if np.isfinite(target).all() else w
    return Problem(w, h.astype(np.float32), offset, mean, level / met.unit**2)


def unit_diagonal(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`h` [k,k] in float64 scaled to a diagonal of ones, and the square roots [k] of its diagonal."""
    deviation = np.sqrt(np.maximum(h.diagonal().astype(float), 1e-30))
    return h / deviation / deviation[:, None], deviation


def least_squares(w: np.ndarray, mask: np.ndarray, h: np.ndarray) -> np.ndarray:
    """For each row the v, zero outside `mask`, that minimizes (v - w)' h (v - w), by conjugate gradients on all rows at once.

    Computed in float64 with variances scaled to 1: if they differ by many decades, `h` is no longer definite in float32.
    """
    h, deviation = unit_diagonal(h)
    w = w * deviation
    v = np.where(mask, w, 0.0)
    r = np.where(mask, (w - v) @ h, 0.0)
    p = r.copy()
    size = first = (r * r).sum(1)
    for _ in range(STEPS):
        q = np.where(mask, p @ h, 0.0)
        curve = (p * q).sum(1)
        step = np.divide(size, curve, out=np.zeros_like(size), where=curve > 0)
        v += step[:, None] * p
        r -= step[:, None] * q
        size, before = (r * r).sum(1), size
        if (size <= CLOSE**2 * first).all():
            break
        p = r + np.divide(size, before, out=np.zeros_like(size), where=before > 0)[:, None] * p
    return v / deviation


def following(layer: Layer, whole: onnx.ModelProto, pruned: onnx.ModelProto, samples: list[dict]) -> Problem:
    """The problem of `layer` after the layers before it were pruned."""
    shape = tuple(g.constants(whole)[layer.node.input[1]].dims)
    met, dense = (Moments(layer.node, shape) for _ in range(2))
    products = np.zeros((met.k, met.k)) if met.full else None
    before, now = (_input_of(layer, model) for model in (whole, pruned))
    for i, sample in enumerate(samples):
        x, y = (p.sampled(f(sample), np.random.default_rng(i)) for p, f in ((dense, before), (met, now)))
        met.count(y)
        dense.count(x)
        if met.full:  # in units of 1, since the units may differ
            products += (dense.centered(x)[0].T @ met.centered(y)[0]).astype(float) / (dense.unit * met.unit)
    return problem(layer, met, dense, products)


def _input_of(layer: Layer, model: onnx.ModelProto) -> Callable[[dict], np.ndarray]:
    name = layer.node.input[0]
    if name in {i.name for i in model.graph.input}:
        return lambda sample: sample[name]
    run = runner(up_to(model, [name]))
    return lambda sample: run(None, sample)[0]
