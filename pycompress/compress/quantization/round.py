"""Rounds the weights of a layer to int8 or int4 codes with scales, and adapts its bias."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...rounding import SWEEPS, damped, round_groups, round_weights
from ...weights import Q4
from ..model.layers import Layer

LARGEST_BIAS = 2.0**30
ROUNDS = 2  # of fitting the scales of 4-bit weights to their codes, and the codes to the scales
RIDGE = 1e-4  # of the mean, by which scales are held where they were
MAX_SYSTEMS = 1 << 22  # entries of the linear systems that are solved at once
PAIRS = 7  # accumulation depth of depthwise convolutions, in pairs of taps: the maximum costs almost no precision


@dataclass(frozen=True, eq=False)
class Rounded:
    """int8 weights [n,k] with a scale for each row, the matching bias [n], and their accumulation depth.

    Attributes
    ----------
    T : accumulation depth in steps (kernels/qgemm.py), or in pairs of taps of a depthwise convolution; 0: none
    """

    q: np.ndarray
    scale: np.ndarray
    bias: np.ndarray | None
    T: int

    def dense(self) -> np.ndarray:
        """The dequantized weights, float64[n,k]."""
        return self.q * self.scale.astype(float)[:, None]

    def off(self, w: np.ndarray) -> np.ndarray:
        """The errors of the dequantized weights against `w`, float32[n,k]."""
        off = self.q * self.scale[:, None]
        off -= w
        return off


@dataclass(frozen=True, eq=False)
class Grouped:
    """4-bit weights, and the matching bias [n]."""

    weights: Q4
    bias: np.ndarray | None

    def dense(self) -> np.ndarray:
        """The dequantized weights, float32[n,k]."""
        return self.weights.dense()


def inputs_of(layer: Layer) -> list[np.ndarray]:
    """The covariance of the inputs of each group of `layer`, or of each row if it is depthwise, damped."""
    if layer.kernel:
        c = layer.covariance
        return [damped(np.repeat(c, len(layer.w) // layer.groups, 0) if c.ndim == 3 else None, layer.w.shape)]
    return [damped(c, layer.w.shape) for c in layer.covariance]


def round_layer(
    layer: Layer,
    T: int,
    sweeps: int = SWEEPS,
    start: Rounded | None = None,
    inputs: list[np.ndarray] | None = None,
    final: bool = True,
) -> Rounded:
    """`layer` with weights for accumulation depth `T`, or `PAIRS` pairs of taps if it is depthwise.

    `sweeps` and `start` as in `round_weights`: two calls, the second with the result of the first, are one with all sweeps.
    `inputs`: what `inputs_of` says, where it is known; the bias is only adapted if the result is `final`.
    """
    w, bias, groups = layer.w32, layer.bias, layer.groups
    inputs = inputs_of(layer) if inputs is None else inputs
    min_scale = np.max([_least(own) for own in layer.members or (layer,)], 0)
    if layer.kernel:
        T = PAIRS if T else 0
        q, scale = round_weights(w, T, layer.segments, inputs[0], min_scale, layer.kernel, sweeps, damp=False)
    else:
        q, scale = np.zeros(w.shape, np.int8), np.zeros(len(w), np.float32)
        each = len(w) // groups
        for i, c in enumerate(inputs):
            rows = slice(i * each, (i + 1) * each)
            before = None if start is None else (start.q[rows], start.scale[rows])
            q[rows], scale[rows] = round_weights(
                w[rows], T, layer.segments, c, min_scale[rows], None, sweeps, before, damp=False
            )
    if not final:
        return Rounded(q, scale, bias, T)
    given = Rounded(q, scale, bias, T)
    return replace(given, bias=adapted(layer, given))


def adapted(layer: Layer, rounded: Rounded) -> np.ndarray | None:
    """The bias of `layer` without the mean error of the `rounded` weights."""
    return _less(layer.bias, layer.shift(rounded.dense() - layer.w))


def _least(layer: Layer) -> np.ndarray:
    """The scales [n] of weights below which the codes of the bias would be too large."""
    if layer.bias is None or layer.x is None:
        return np.zeros(len(layer.w))
    return np.abs(layer.bias) / (float(layer.x.scale) * LARGEST_BIAS)


def nearest4(layer: Layer, group: int, symmetric: bool) -> Grouped:
    """`layer` with 4-bit weights, each rounded to nearest."""
    q = round_groups(layer.w, group, symmetric)
    return Grouped(q, _less(layer.bias, layer.shift(q.dense() - layer.w)))


def fitted4(w: np.ndarray, h: np.ndarray, group: int, symmetric: bool) -> Q4:
    """`w` [n,k] in 4 bits, codes and scales in turn chosen for inputs with the covariance `h` ([k,k], or [k] of variances)."""
    q = round_groups(w, group, symmetric, h)
    for _ in range(ROUNDS if h.ndim == 2 else 0):
        q = round_groups(w, group, symmetric, h, scaled4(q, w, h))
    return q


def scaled4(q: Q4, w: np.ndarray, h: np.ndarray) -> Q4:
    """The codes of `q` with the scales for which d' h d is least, d being a row's error against `w` [n,k].

    Rows that float16 numbers do not improve keep theirs.
    """
    (n, k), groups = w.shape, q.scale.shape[1]
    of = np.arange(k) // q.group
    z = q.w - q.zero[:, of].astype(np.float32)
    h, starts = h.astype(np.float32), np.arange(0, k, q.group)
    scale = q.scale.astype(float)
    for rows in np.array_split(np.arange(n), max(1, n * groups**2 // MAX_SYSTEMS)):
        c, wanted = z[rows], (w[rows].astype(np.float32) @ h)
        a, b = np.empty((len(rows), groups, groups)), np.add.reduceat(c * wanted, starts, 1).astype(float)
        for i in range(groups):
            own = slice(starts[i], starts[i] + q.group)
            a[:, i] = np.add.reduceat((c[:, own] @ h[own]) * c, starts, 1)
        ridge = RIDGE * a.diagonal(axis1=1, axis2=2).mean(1)[:, None] + 1e-30
        a += ridge[..., None] * np.eye(groups)
        scale[rows] = np.linalg.solve(a, (b + ridge * scale[rows])[..., None])[..., 0]
    if np.array_equal(q.scale.astype(np.float16).astype(np.float32), q.scale):
        fine = (np.abs(scale) >= 2.0**-17) & (np.abs(scale) < 2.0**15)
        scale = np.where(fine, scale, q.scale).astype(np.float16)
    scale = np.where(np.isfinite(scale) & (scale != 0), scale, q.scale).astype(np.float32)
    before, after = (_cost(z * s[:, of] - w, h) for s in (q.scale, scale))
    return Q4(q.w, np.where((after < before)[:, None], scale, q.scale), q.zero, q.group)


def _cost(d: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The squared errors [n] of the outputs for the errors `d` [n,k] of the weights."""
    d = d.astype(np.float32)
    return np.einsum("nk,nk->n", d @ h, d)


def _less(bias: np.ndarray | None, shift: np.ndarray | None) -> np.ndarray | None:
    if shift is None:
        return bias
    return -shift if bias is None else bias - shift
