"""What factors cost, and which ranks to take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..choice import Choice, cheapest

STEP = 8  # ranks are multiples of it: half a panel of the kernels
GRID = 48  # Tucker decompositions that are weighed
PAYS = {"macs": 0.85, "parameters": 1.0, "time": 0.97}  # of the dense cost: thin products are slower for each MAC
LEAST = 1e-9  # of what is left of a layer
MEASURED = 5  # ranks of a layer that are timed; those between are interpolated


@dataclass(frozen=True)
class Geometry:
    """Sizes of a layer: `kernel` is () for a matrix product, `batch` is then the number of rows."""

    n: int
    c: int
    kernel: tuple[int, ...]
    batch: int
    inside: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()

    @property
    def full(self) -> int:
        """The largest rank of the weights as a matrix."""
        return min(self.n, self.c * prod(self.kernel))


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one run, and weights."""

    macs: int
    parameters: int


def most(kind: str, s: Geometry) -> tuple[int, ...]:
    """The full rank, or ranks."""
    if kind == "tucker":
        return min(s.c, s.n * prod(s.kernel)), s.n
    if kind == "spatial":
        return (min(s.c * s.kernel[0], s.n * s.kernel[1]),)
    return (s.full,)


def work(kind: str, s: Geometry, ranks: tuple[int, ...]) -> Work:
    """Of the factors; of the layer as it is, where `ranks` is ()."""
    cells, before, after = prod(s.kernel), s.batch * prod(s.inside), s.batch * prod(s.outside)
    if not ranks:
        parts = [(after, s.n * s.c * cells)]
    elif kind == "tucker":
        (a, b) = ranks
        parts = [(before, s.c * a), (after, a * b * cells), (after, b * s.n)]
    elif kind == "spatial":
        between = s.batch * s.outside[0] * s.inside[1]
        parts = [(between, ranks[0] * s.c * s.kernel[0]), (after, s.n * ranks[0] * s.kernel[1])]
    else:
        parts = [(after, ranks[0] * s.c * cells), (after, s.n * ranks[0])]
    return Work(sum(m * w for m, w in parts), sum(w for _, w in parts))


def break_even(kind: str, s: Geometry, unit: str) -> int:
    """The largest rank at which the factors cost no more than the layer as it is; of a Tucker decomposition, both ranks."""
    unit = "macs" if unit == "time" else unit
    dense, low, high = getattr(work(kind, s, ()), unit), 0, s.n * s.c * prod(s.kernel) + 1
    while high - low > 1:
        r = (low + high) // 2
        low, high = (r, high) if getattr(work(kind, s, (r,) * len(most(kind, s))), unit) <= dense else (low, r)
    return low


def options(
    kind: str, s: Geometry, tails: list[np.ndarray], unit: str, seconds: Callable[[tuple[int, ...]], float] | None
) -> list[Choice]:
    """The layer as it is, (), then its ranks wherever they pay, from high to low; `seconds` measures.

    A choice costs the logarithm of what is left of the layer, negated: along a chain of layers the shares that are left
    multiply, and a layer of which next to nothing is left must not seem cheap. It adds its work, in the unit of the budget.
    """
    full = most(kind, s)
    if kind == "tucker":
        edges = np.geomspace(0.5, 1e-4, GRID)
        ranks = list(dict.fromkeys(tuple(_least(t, m, x / 2) for t, m in zip(tails, full)) for x in edges))
    else:
        step = STEP if full[0] > 2 * STEP else 1
        ranks = [(r,) for r in range(step, full[0] + 1, step)]
    works = [work(kind, s, r) for r in ranks]
    dense = work(kind, s, ())
    if seconds is None:
        costs, whole = [getattr(w, unit) for w in works], getattr(dense, unit)
    else:
        costs, whole = _timed(ranks, [w.macs for w in works], dense.macs, seconds), seconds(())
    found = [
        Choice(r, -math.log(max(1 - sum(t[i] for t, i in zip(tails, r)), LEAST)), float(cost))
        for r, cost in zip(ranks, costs)
        if cost <= PAYS[unit] * whole
    ]
    return [Choice((), 0.0, float(whole)), *sorted(found, key=lambda o: -o.added)]


def _least(tails: np.ndarray, full: int, loss: float) -> int:
    """The least rank, a multiple of `STEP` or full, that loses no more than `loss`."""
    r = max(int(np.argmax(tails <= loss + 1e-12)), 1)
    return min(-(-r // STEP) * STEP if full > 2 * STEP else r, full)


def wanted(kind: str, s: Geometry, tails: list[np.ndarray], energy: float) -> tuple[int, ...]:
    """The ranks that keep the share `energy`; the two of a Tucker decomposition lose half of the rest each."""
    full = most(kind, s)
    return tuple(_least(t, m, (1 - energy) / len(full)) for t, m in zip(tails, full))


def within(choices: Sequence[list[Choice]], ratio: float) -> list[Choice]:
    """One option for each layer: those that lose least and together cost no more than the share `ratio`."""
    whole = sum(own[0].added for own in choices)
    least = sum(min(o.added for o in own) for own in choices)
    if least > ratio * whole:
        raise ValueError(
            f"ratio: {ratio:g} cannot be reached; with rank {STEP} everywhere it would be {least / whole:.3f}"
        )
    return cheapest(list(choices), ratio * whole)


def _timed(ranks, macs: list[int], dense: int, seconds) -> np.ndarray:
    """The time of each of `ranks`, measured at some that can pay, and interpolated by their MACs."""
    order = np.argsort(macs)
    able = [i for i in order if macs[i] <= 1.25 * dense] or list(order[:1])
    some = sorted({able[j] for j in np.linspace(0, len(able) - 1, MEASURED).round().astype(int)}, key=lambda i: macs[i])
    times = np.maximum.accumulate([seconds(ranks[i]) for i in some])
    beyond = [np.inf if m > 1.25 * dense else 0.0 for m in macs]
    return np.interp(macs, [macs[i] for i in some], times) + beyond
