"""Changes of the weights that leave a float network as it is, and make it easier to round.

All are measured in one pass over a few samples, made together, and checked together: networks are planned for them as
seldom as can be, for that takes most of the time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx
from onnx import helper

from ..calibration.engine import Run, runner
from ..calibration.observe import up_to
from ..model import graph as g
from ..verdict import snr

EXACT = 40.0  # dB: what the float network has to keep
COMPARED = 4  # samples on which it has to

Samples = Sequence[Mapping[str, np.ndarray]]
Step = Callable[[onnx.ModelProto], None]


class Change(Protocol):
    """A kind of change.

    Attributes
    ----------
    metadata : the key under which the model tells what was done
    tensors : what `add` has to be given
    """

    metadata: str
    tensors: list[str]

    def add(self, found: Mapping[str, np.ndarray]) -> None:
        """Measures the tensors of one sample."""

    def steps(self) -> dict[str, Step]:
        """What to do to the model, in place: by the name of a tensor or node, one change that makes sense alone."""

    def told(self, done: list[str], refused: dict[str, str]) -> object:
        """What the metadata say of the steps that were taken, and why others were not."""


class Preconditioned:
    """`model` after all steps of `changes`, in place; `settled` checks them.

    Parameters
    ----------
    samples : what is measured
    ends : the tensors by which the float network is compared with itself

    Attributes
    ----------
    exact : computes `ends` of the network as it was; None if nothing does yet
    """

    def __init__(self, model: onnx.ModelProto, changes: Sequence[Change], samples: Samples, ends: Sequence[str]):
        self.model, self.ends, self._samples = model, list(ends), samples[:COMPARED]
        self._changes = [c for c in changes if c.tensors] if ends else []
        self.exact: Run | None = None
        self._wanted: list[list[np.ndarray]] = []
        self._steps: dict[str, Step] = {}
        if not self._changes:
            return
        names = list(dict.fromkeys([*(t for c in self._changes for t in c.tensors), *ends]))
        self.exact = run = runner(up_to(model, names))
        for i, sample in enumerate(samples):
            found = dict(zip(names, run(names, sample)))
            for change in self._changes:
                change.add(found)
            if i < COMPARED:
                self._wanted.append([found[t] for t in ends])
        self._of = [(change, change.steps()) for change in self._changes]
        self._steps = {name: step for _, own in self._of for name, step in own.items()}
        self._before = g.copied(model)
        for step in self._steps.values():
            step(model)
        if self._steps:
            self._finish({})

    def settled(self, tensors: Sequence[str]) -> tuple[Run | None, bool]:
        """(a function that computes `tensors` of the model but for its inputs, whether all steps were kept).

        Where the float network would not stay as it was, it is found out which step that is, and the model is without it.
        """
        inputs = {i.name for i in g.graph_inputs(self.model)}
        tensors = [t for t in tensors if t not in inputs]
        both = list(dict.fromkeys([*tensors, *self.ends]))
        if self._steps:
            run = runner(up_to(self.model, both))
            if self._kept(run) >= EXACT:
                return run, True
            self._one_by_one()
        run = runner(up_to(self.model, both)) if both else None
        if not self._steps:
            self.exact = run
        return run, not self._steps

    def _one_by_one(self) -> None:
        self.model.CopyFrom(self._before)
        refused = {}
        for name, step in self._steps.items():
            self._before.CopyFrom(self.model)
            step(self.model)
            if (kept := self._kept(runner(up_to(self.model, self.ends)))) < EXACT:
                self.model.CopyFrom(self._before)
                refused[name] = f"the float network would keep {kept:.1f} dB"
        self._finish(refused)

    def _finish(self, refused: dict[str, str]) -> None:
        g.drop_unused(self.model)
        told = {}
        for change, own in self._of:
            done = [name for name in own if name not in refused]
            if said := change.told(done, {name: why for name, why in refused.items() if name in own}):
                told[change.metadata] = json.dumps(said)
        helper.set_model_props(self.model, g.metadata(self.model) | told)

    def _kept(self, run: Run) -> float:
        """The worst signal-to-noise ratio of the tensors `ends` against what they were; -inf if one is not finite."""
        got = [run(self.ends, sample) for sample in self._samples]
        if not all(np.isfinite(y).all() for ys in got for y in ys):
            return -np.inf
        return min((snr(a, b) for a, b in zip(zip(*self._wanted), zip(*got))), default=np.inf)
