"""Fits a layer of 4-bit weights to what it computed in the float model, given its inputs in the model quantized so far.

The more such a fit is trusted, the more it relies on correlations that only the calibration samples have. So it is
damped: how much, samples decide that the fit has not seen. Even samples judge a fit to odd ones, and odd samples one to even.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from ..model.layers import Layer
from .moments import Moments
from .sequential import Problem, problem, unit_diagonal

SHARES = (0.03, 0.1, 0.3, 1.0)  # of the fit that equal variances take: the last one leaves the weights as they are
ROUNDING = 0.1  # the same for the errors of rounding, which have no part that could be known to be needed


class Pair:
    """Moments of a layer's inputs in two models, for even and odd samples.

    Attributes
    ----------
    now, before : the moments in the changed and in the float model; of the latter only means and variances
    """

    def __init__(self, node: onnx.NodeProto, shape: tuple[int, ...]):
        self.now, self.before = Moments(node, shape), Moments(node, shape, products=False)
        self.cross = np.zeros((2, self.now.k, self.now.k) if self.now.full else (2, 0, 0))

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Counts the inputs `x` in the float model and `y` in the changed one, of one sample."""
        index = self.now.samples
        x, y = (m.sampled(v, np.random.default_rng(index)) for m, v in ((self.before, x), (self.now, y)))
        self.before.count(x)
        self.now.count(y)
        if self.now.full:  # in units of 1, since the units may differ
            products = self.before.centered(x)[0].T @ self.now.centered(y)[0]
            self.cross[index % 2] += products.astype(float) / (self.before.unit * self.now.unit)

    def moments(self, zero: bool, half: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Second moments of the inputs now, and of those before with those now, float64[k,k]; of all samples or a `half`.

        About the mean or about `zero`; in units of 1 / `now.unit`².
        """
        now, before = ((m.all if half is None else m.halves[half]) for m in (self.now, self.before))
        cross = (self.cross.sum(0) if half is None else self.cross[half]) / max(now.count, 1)
        means = [s.mean[0] / m.unit for s, m in ((before, self.before), (now, self.now))]
        cross -= np.outer(*means)
        if zero:
            cross += np.outer(*(mean + m.origin for mean, m in zip(means, (self.before, self.now))))
        return self.now.second(now, zero)[0], cross * self.now.unit**2


def fit(layer: Layer, shape: tuple[int, ...], inputs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Problem:
    """The problem of rounding `layer`, with weights of `shape`, for its `inputs` in the float and in the changed model."""
    pair = Pair(layer.node, shape)
    for x, y in inputs:
        pair.add(x, y)
    plain = problem(layer, pair.now, pair.before)
    if not pair.now.full:
        return plain
    zero = not layer.correct
    halves = [pair.moments(zero, half) for half in (0, 1)]
    c, cross = pair.moments(zero)
    share = min(SHARES, key=lambda s: _missed(layer.w, halves, s)) if pair.now.samples > 1 else SHARES[-1]
    h = damped(c, ROUNDING)[0].astype(np.float32)
    return Problem(fitted(layer.w, c, cross, share), h, plain.offset, plain.mean, plain.level)


def damped(c: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """(`c` [k,k] over its mean variance, with a `share` of equal variances without correlation; the mean variance)."""
    level = float(c.diagonal().mean()) or 1.0
    return (1 - share) * (c / level) + share * np.eye(len(c)), level


def fitted(w: np.ndarray, c: np.ndarray, cross: np.ndarray, share: float) -> np.ndarray:
    """The weights [n,k] that give, from the inputs now, the outputs that `w` had before; zeros of `w` stay."""
    if share == 1:
        return w
    h, level = damped(c, share)
    wanted = (1 - share) * (cross / level) + share * np.eye(len(c))
    unit, deviation = unit_diagonal(h)
    v = np.linalg.solve(unit, (wanted / deviation[None]).T @ w.T).T / deviation
    return np.where(w != 0, v, 0.0) if np.isfinite(v).all() else w


def _missed(w: np.ndarray, halves: list[tuple[np.ndarray, np.ndarray]], share: float) -> float:
    """The squared error of a fit to each half on the other one, less what does not depend on `share`."""
    total = 0.0
    for own, (c, cross) in zip(halves, reversed(halves)):
        v = fitted(w, *own, share)
        total += float(np.vdot(v @ c, v) - 2 * np.vdot(v, w @ cross))
    return total
