"""Ranges of activations: a histogram that is filled in one pass, and the best range to clip to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

BINS = 2048
CLIPPED = 4.0


class Histogram:
    """Counts of values in at most `BINS` bins whose width is a power of two.

    Bin i covers [i w, (i + 1) w). When values lie outside all bins, the width doubles and neighbouring bins merge, which
    is exact. So the data are read once and need not be stored.
    """

    def __init__(self):
        self.low, self.high = np.inf, -np.inf
        self.width = 0.0
        self.first = 0
        self.counts = np.zeros(0)

    def add(self, x: np.ndarray, low: float, high: float) -> None:
        """Counts the values `x`, flat float32; `low` and `high` are the extremes of all values, including those not in `x`."""
        self.low, self.high = min(self.low, low), max(self.high, high)
        reach = max(abs(self.low), abs(self.high))
        if reach == 0:
            return
        if not self.width:
            self.width = 2.0 ** max(np.ceil(np.log2(reach)) - 10, -120)  # its inverse is a float32
        first, last = self._reach()
        while last - first >= BINS:
            self._merge()
            first, last = self._reach()
        self._extend(first, last)
        index = np.floor(x * np.float32(1 / self.width)).astype(np.int64) - self.first
        self.counts += np.bincount(index, minlength=len(self.counts))

    def _reach(self) -> tuple[int, int]:
        """The first and last bin needed for the extremes and the counts so far."""
        first, last = int(np.floor(self.low / self.width)), int(np.floor(self.high / self.width))
        if len(self.counts):
            first, last = min(first, self.first), max(last, self.first + len(self.counts) - 1)
        return first, last

    def _merge(self) -> None:
        before = self.first % 2
        counts = np.concatenate([np.zeros(before), self.counts, np.zeros((before + len(self.counts)) % 2)])
        self.counts = counts.reshape(-1, 2).sum(1)
        self.first //= 2
        self.width *= 2

    def _extend(self, first: int, last: int) -> None:
        grown = np.zeros(last - first + 1)
        if len(self.counts):
            grown[self.first - first :][: len(self.counts)] = self.counts
        self.first, self.counts = first, grown

    @property
    def centers(self) -> np.ndarray:
        return (self.first + np.arange(len(self.counts)) + 0.5) * self.width

    def minmax(self) -> tuple[float, float]:
        """The range of the extremes, extended to include zero."""
        return min(self.low, 0.0), max(self.high, 0.0)

    def percentile(self, share: float) -> tuple[float, float]:
        """The range that excludes 100 - `share` percent of the values, half of them on each side."""
        low, high = self.minmax()
        total = self.counts.sum()
        if not total:
            return low, high
        seen = np.cumsum(self.counts) / total
        edge = (1 - share / 100) / 2
        first = np.searchsorted(seen, edge, "right")
        last = np.searchsorted(seen, 1 - edge, "left")
        edges = (self.first + np.array([first, last + 1])) * self.width
        return max(low, min(edges[0], 0.0)), min(high, max(edges[1], 0.0))

    @property
    def seen(self) -> np.ndarray:
        """The centers of the bins that are not empty."""
        return self.centers[np.flatnonzero(self.counts)]

    def mse(
        self, levels: int = 255, symmetric: bool = False, functions: Sequence[np.ndarray] = ()
    ) -> tuple[float, float]:
        """The range with the minimum mean squared error when it is divided into `levels` steps (see `_error`).

        `functions`: the values at `seen` of functions of the tensor; if there are any, the errors are theirs.
        """
        return self._shrunk(lambda x, n, low, high: _error(x, n, low, high, levels, functions), symmetric)

    def entropy(self, levels: int = 255, symmetric: bool = False) -> tuple[float, float]:
        """The range whose `levels` steps keep the most of the distribution: the least Kullback-Leibler divergence.

        As in NVIDIA's TensorRT (Migacz, 2017), with a histogram of finer bins and a range that need not be symmetric.
        """
        return self._shrunk(lambda x, n, low, high: _divergence(x, n, low, high, levels), symmetric)

    def _shrunk(self, cost: Callable[[np.ndarray, np.ndarray, float, float], float], symmetric: bool):
        """The range within the extremes with the least `cost`, a function of values, their counts, and the range."""
        low, high = self.minmax()
        used = np.flatnonzero(self.counts)
        if not len(used):
            return low, high
        x, n = self.seen, self.counts[used]
        if symmetric:
            reach = max(-low, high)
            best = min(_SHRINK, key=lambda s: cost(x, n, -reach * s, reach * s))
            return -reach * best, reach * best

        @cache
        def of(down, up):
            return cost(x, n, low * down, high * up)

        down = up = min(_SHRINK, key=lambda s: of(s, s))
        if low < 0 < high:
            for _ in range(2):  # one side at a time, starting from the best common factor
                down = min(_SHRINK, key=lambda s: of(s, up))
                up = min(_SHRINK, key=lambda s: of(down, s))
        return low * down, high * up


_SHRINK = np.geomspace(1, 0.08, 36).tolist()


def _error(x, n, low, high, levels, functions=()) -> float:
    """Squared error of the values `x`, `n` of each, rounded to steps in [low, high].

    Zero is one of the steps, as it is in a quantized tensor. Clipped values count `CLIPPED` times: they
    tend to be what the answer depends on, and there are larger ones that calibration has not seen.
    """
    step = (high - low) / levels
    zero = round(-low / step)
    code = np.rint(x / step)
    inside = np.minimum(np.maximum(code, -zero), levels - zero)  # np.clip takes twice the time
    clipped = code != inside
    inside *= step
    if functions:
        error = sum(np.square(np.interp(inside, x, y) - y) for y in functions)
    else:
        inside -= x
        error = np.square(inside, out=inside)
    return float(n @ error) + (CLIPPED - 1) * float(n[clipped] @ error[clipped])


def _divergence(x, n, low, high, levels) -> float:
    """The Kullback-Leibler divergence of the rounded values from the values `x`, `n` of each, clipped to [low, high].

    A step's share is spread evenly over its bins; what is clipped counts where it is clipped to, but not in the rounded
    distribution, so that clipping costs.
    """
    step = (high - low) / levels
    if step <= 0:
        return np.inf
    code = np.round(x / step) + np.round(-low / step)
    inside = (code >= 0) & (code <= levels)
    if not inside.any():
        return np.inf
    p, index = n[inside].copy(), code[inside].astype(np.int64)
    q = (np.bincount(index, p) / np.maximum(np.bincount(index), 1))[index]
    p[0] += n[code < 0].sum()
    p[-1] += n[code > levels].sum()
    p, q = p / p.sum(), q / q.sum()
    return float(p @ np.log(p / q))
