"""Who writes and who reads what."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..kernels import module
from ..lower.values import Program, Step, root


@cache
def _outputs(kernel: str) -> tuple[str, ...]:
    return getattr(module(kernel), kernel).spec.outputs


def writes(step: Step) -> list[np.ndarray]:
    """The arrays that `step` writes."""
    return [step.args[name] for name in _outputs(step.kernel)]


def reads(step: Step) -> list[np.ndarray]:
    """The arrays that `step` reads, constants among them."""
    out = _outputs(step.kernel)
    return [x for name, x in step.args.items() if isinstance(x, np.ndarray) and name not in out]


class Uses:
    """Producers and readers of every buffer of a program, by id of the buffer's array."""

    def __init__(self, program: Program):
        self.program = program
        self.producers: dict[int, list[Step]] = {}
        self.readers: dict[int, list[Step]] = {}
        for step in program.steps:
            for x in writes(step):
                self.producers.setdefault(id(root(x)), []).append(step)
            for x in reads(step):
                if id(root(x)) in program.buffers:
                    self.readers.setdefault(id(root(x)), []).append(step)

    def producer(self, x: np.ndarray) -> Step | None:
        """The one step that writes all of the buffer of `x`; None where there are none or several."""
        found = self.producers.get(id(root(x)), [])
        if len(found) != 1 or self.program.buffers[id(root(x))].place[0] == "output":
            return None
        target = writes(found[0])[0]
        return found[0] if target.size == root(x).size and root(target) is root(x) else None

    def only_reader(self, x: np.ndarray) -> bool:
        """Whether one step alone reads the buffer of `x`."""
        return len(self.readers.get(id(root(x)), [])) == 1


def covers(x: np.ndarray) -> bool:
    """Whether `x` is the whole of its buffer, in some order of dimensions."""
    return x.size == root(x).size


def same_cells(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two arrays lay the same elements in the same order in memory, both whole and dense."""
    return x.size == y.size and covers(x) and covers(y)
