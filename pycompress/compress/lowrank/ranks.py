"""The costs of factors, and the choice of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..choice import Choice, cheapest

STEP = 8  # ranks are multiples of it: half a panel of the kernels
GRID = 48  # Tucker decompositions that are considered
PAYS = {
    "macs": 0.85,
    "parameters": 1.0,
    "time": 0.97,
}  # maximum cost relative to dense: narrow products are slower per MAC
MIN_KEPT = 1e-9  # lower bound of the share of a layer that is kept
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
    """Multiply-accumulates of one run, and the number of weights."""

    macs: int
    parameters: int


def full_ranks(kind: str, s: Geometry) -> tuple[int, ...]:
    """The full rank; for a Tucker decomposition both full ranks."""
    if kind == "tucker":
        return min(s.c, s.n * prod(s.kernel)), s.n
    if kind == "spatial":
        return (min(s.c * s.kernel[0], s.n * s.kernel[1]),)
    return (s.full,)


def work(kind: str, s: Geometry, ranks: tuple[int, ...]) -> Work:
    """The work of the factors; of the unchanged layer if `ranks` is ()."""
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
    """The maximum rank at which the factors cost no more than the layer; for a Tucker decomposition, of both ranks."""
    unit = "macs" if unit == "time" else unit
    dense, low, high = getattr(work(kind, s, ()), unit), 0, s.n * s.c * prod(s.kernel) + 1
    while high - low > 1:
        r = (low + high) // 2
        low, high = (r, high) if getattr(work(kind, s, (r,) * len(full_ranks(kind, s))), unit) <= dense else (low, r)
    return low


def options(
    kind: str, s: Geometry, tails: list[np.ndarray], unit: str, seconds: Callable[[tuple[int, ...]], float] | None
) -> list[Choice]:
    """The unchanged layer, (), then its ranks that cost less, from high to low; `seconds` measures times.

    The cost of a choice is the negative logarithm of the share of the layer that is kept, since in a sequence of layers
    these shares multiply. Its work is added to the budget.
    """
    full = full_ranks(kind, s)
    if kind == "tucker":
        edges = np.geomspace(0.5, 1e-4, GRID)
        ranks = list(dict.fromkeys(tuple(_min_rank(t, m, x / 2) for t, m in zip(tails, full)) for x in edges))
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
        Choice(r, -math.log(max(1 - sum(t[i] for t, i in zip(tails, r)), MIN_KEPT)), float(cost))
        for r, cost in zip(ranks, costs)
        if cost <= PAYS[unit] * whole
    ]
    return [Choice((), 0.0, float(whole)), *sorted(found, key=lambda o: -o.added)]


def _min_rank(tails: np.ndarray, full: int, loss: float) -> int:
    """The minimum rank, a multiple of `STEP` or full, that loses no more than `loss`."""
    r = max(int(np.argmax(tails <= loss + 1e-12)), 1)
    return min(-(-r // STEP) * STEP if full > 2 * STEP else r, full)


def wanted(kind: str, s: Geometry, tails: list[np.ndarray], energy: float) -> tuple[int, ...]:
    """The ranks that keep the share `energy`; each of the two ranks of a Tucker decomposition may lose half of the rest."""
    full = full_ranks(kind, s)
    return tuple(_min_rank(t, m, (1 - energy) / len(full)) for t, m in zip(tails, full))


def within(choices: Sequence[list[Choice]], ratio: float) -> list[Choice]:
    """One option for each layer: the smallest loss for which the total cost is at most the share `ratio`."""
    whole = sum(own[0].added for own in choices)
    minimum = sum(min(o.added for o in own) for own in choices)
    if minimum > ratio * whole:
        raise ValueError(
            f"ratio: {ratio:g} cannot be reached; with rank {STEP} everywhere it would be {minimum / whole:.3f}"
        )
    return cheapest(list(choices), ratio * whole)


def _timed(ranks, macs: list[int], dense: int, seconds) -> np.ndarray:
    """The time of each of `ranks`: measured for some that may be faster, interpolated by MACs for the others."""
    order = np.argsort(macs)
    able = [i for i in order if macs[i] <= 1.25 * dense] or list(order[:1])
    some = sorted({able[j] for j in np.linspace(0, len(able) - 1, MEASURED).round().astype(int)}, key=lambda i: macs[i])
    times = np.maximum.accumulate([seconds(ranks[i]) for i in some])
    beyond = [np.inf if m > 1.25 * dense else 0.0 for m in macs]
    return np.interp(macs, [macs[i] for i in some], times) + beyond
