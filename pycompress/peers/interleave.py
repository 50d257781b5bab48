"""Times several engines in turns within one run, because only such times are comparable.

Machines are shared and clocks vary by a third between runs, so every engine gets a block of runs in
every round.  Each block is preceded by a rest, since the threads of the previous engine may continue to
spin for a while, and by runs that are not counted.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

REST = 0.03


@dataclass(frozen=True)
class Timing:
    """Seconds of each counted run, a tuple per round."""

    rounds: tuple[tuple[float, ...], ...]

    @property
    def n(self) -> int:
        return sum(map(len, self.rounds))

    @property
    def best(self) -> float:
        return min(map(min, self.rounds))

    @property
    def median(self) -> float:
        return median(s for block in self.rounds for s in block)


def interleave(
    calls: Mapping[str, Callable[[], object]],
    *,
    runs: int = 40,
    rounds: int = 10,
    warmup: int = 2,
    rest: float = REST,
    tick: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time `calls` in turns.

    Parameters
    ----------
    calls : {name: function}
    runs : int
        Counted runs of each, spread evenly over the `rounds`; at least as many as asked for.
    warmup : int
        Uncounted runs before each block.
    rest : float
        Seconds of sleep before each block.
    tick : function
        Called after each block: `rounds` * len(calls) times.
    clock : function
        Seconds; ``time.process_time`` counts those that this process computes, in all its threads.
    """
    rounds = max(1, min(rounds, runs))
    per_round = -(-runs // rounds)
    names = list(calls)
    taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(rounds):
            for name in (
                names[i % len(names) :] + names[: i % len(names)]
            ):  # so that no engine always follows the same one
                taken[name].append(_block(calls[name], per_round, warmup, rest, clock))
                tick()
    finally:
        if collecting:
            gc.enable()
    return {name: Timing(tuple(blocks)) for name, blocks in taken.items()}


def _block(call, runs: int, warmup: int, rest: float, clock) -> tuple[float, ...]:
    time.sleep(rest)
    for _ in range(warmup):
        call()
    seconds = []
    for _ in range(runs):
        start = clock()
        call()
        seconds.append(clock() - start)
    return tuple(seconds)


def times_faster(a: Timing, b: Timing) -> float:
    """How many times as fast as `b` `a` is: the median over the rounds of the ratio of their fastest runs."""
    return median(min(y) / min(x) for x, y in zip(a.rounds, b.rounds))
