"""Rounds the weights of a layer to int8 or int4 codes with scales, and adapts its bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...rounding import SWEEPS, round_groups, round_weights
from ...weights import Q4
from ..model.layers import Layer

LARGEST_BIAS = 2.0**30
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


@dataclass(frozen=True, eq=False)
class Grouped:
    """4-bit weights, and the matching bias [n]."""

    weights: Q4
    bias: np.ndarray | None

    def dense(self) -> np.ndarray:
        """The dequantized weights, float32[n,k]."""
        return self.weights.dense()


def round_layer(layer: Layer, T: int, sweeps: int = SWEEPS, start: Rounded | None = None) -> Rounded:
    """`layer` with weights for accumulation depth `T`, or `PAIRS` pairs of taps if it is depthwise.

    `sweeps` and `start` as in `round_weights`: two calls, the second with the result of the first, are one with all sweeps.
    """
    w, bias, groups = layer.w, layer.bias, layer.groups
    covariance = layer.covariance
    min_scale = np.zeros(len(w)) if bias is None else np.abs(bias) / (float(layer.x.scale) * LARGEST_BIAS)
    if layer.kernel:
        T = PAIRS if T else 0
        each = np.repeat(covariance, len(w) // groups, 0) if covariance.ndim == 3 else None
        q, scale = round_weights(w, T, layer.segments, each, min_scale, layer.kernel, sweeps)
    else:
        q, scale = np.zeros(w.shape, np.int8), np.zeros(len(w), np.float32)
        for rows, c in zip(np.split(np.arange(len(w)), groups), covariance):
            before = None if start is None else (start.q[rows], start.scale[rows])
            q[rows], scale[rows] = round_weights(w[rows], T, layer.segments, c, min_scale[rows], None, sweeps, before)
    return Rounded(q, scale, _less(bias, layer.shift(q * scale.astype(float)[:, None] - w)), T)


def nearest4(layer: Layer, group: int, symmetric: bool) -> Grouped:
    """`layer` with 4-bit weights, each rounded to nearest."""
    q = round_groups(layer.w, group, symmetric)
    return Grouped(q, _less(layer.bias, layer.shift(q.dense() - layer.w)))


def _less(bias: np.ndarray | None, shift: np.ndarray | None) -> np.ndarray | None:
    if shift is None:
        return bias
    return -shift if bias is None else bias - shift
