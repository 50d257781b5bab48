"""The float network in the form in which `quantize` rounds it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import onnx

from ..calibration.computable import computable
from ..calibration.datafree import NAME as DATA_FREE
from ..calibration.datafree import recorded, synthesized
from ..calibration.observe import Statistics, observe, up_to
from ..calibration.samples import Calibration, Samples
from ..model import graph as g
from ..model.affine import fold_affine
from ..model.prepare import prepare
from ..model.transposed import replace_transposed
from ..progress import Progress
from ..verdict import answers
from .equalize import Streams
from .interleave import Copies
from .options import Options
from .precondition import Preconditioned
from .recurrent import lstms
from .shared import firsts
from .targets import Targets, choose_targets

MEASURED = 16  # samples that channels are scaled and copied by


class Floats:
    """A float network: with constants, batch norm and borders folded, and its channels scaled and copied.

    Attributes
    ----------
    model : the network
    given : before channels were scaled and copied; what answers are compared with
    able : the part that the engine computes, and why not others
    samples : what it is calibrated on
    synthetic : whether the samples are made from what BatchNormalization recorded
    targets : what is rounded
    alike : for nodes that have their weights in common, by name, the first of them
    """

    def __init__(self, model: onnx.ModelProto, calibration: Calibration, how: Options):
        self._how = how
        records = recorded(model) if isinstance(calibration, str) and calibration == DATA_FREE else None
        self.synthetic = records is not None
        if self.synthetic and (how.four.weights != 8 or how.unless_slower or how.min_snr is not None):
            raise ValueError(
                f"calibration={DATA_FREE!r} has no samples to fit 4-bit weights to, to time or to judge by"
            )
        if self.synthetic and how.sequential:
            raise ValueError(
                f'calibration={DATA_FREE!r} has no samples for bias_correction="sequential" to be judged by'
            )
        self.model = model = prepare(model, 13 if how.four.weights == 8 else 21)
        if unknown := how.exclude - {n.name for n in model.graph.node}:
            raise ValueError(f"exclude: the model has no node {min(unknown)!r}")
        if "Conv" in how.operators:
            replace_transposed(model, how.exclude)
        fold_affine(model, how.exclude)
        self._shown, calibration = synthesized(model, records) if self.synthetic else (model, calibration)
        self.samples = Samples(model, calibration)
        self.able = computable(model, self.samples.sample)
        self._check_able()
        self.given, without = g.copied(model), self.without()
        kinds = ((how.equalize, Streams), (how.interleave, Copies))
        changes = [kind(model, without) for wanted, kind in kinds if wanted and not self.synthetic]
        changed = Preconditioned(model, changes, self.samples.peek(MEASURED), self.able.ends)
        self.targets = self.chosen(model)
        if not self.targets.tensors and not (how.lstm and lstms(model, without)[0]):
            why = "; ".join(f"{name!r}: {said}" for name, said in self.able.why.items())
            raise ValueError(
                f"nothing to quantize: {why or 'the model has none of the chosen operators with constant weights'}"
            )
        self._run, kept = changed.settled(self.targets.tensors)
        self._exact = changed.exact
        if not kept:
            self.targets = self.chosen(model)  # other nodes, of the same names
        self.alike = firsts(self.targets.weighted)

    def _check_able(self) -> None:
        for option, wanted, what in (
            ("unless_slower", self._how.unless_slower, "timed"),
            ('bias_correction="sequential"', self._how.sequential, "run"),
        ):
            if wanted and self.able.why:
                name, said = next(iter(self.able.why.items()))
                raise ValueError(f"{option}: node {name!r} cannot be {what} here: {said}")

    def without(self, left: Iterable[str] = ()) -> set[str]:
        """The nodes that stay in float: asked for, not computed here, or `left`."""
        return {*self._how.exclude, *self.able.why, *left}

    def chosen(self, model: onnx.ModelProto, left: Iterable[str] = ()) -> Targets:
        """What of `model`, which has the nodes of this one, is rounded where the nodes `left` are not."""
        found = choose_targets(model, set(self._how.operators), self.without(left), self._how.quantize_outputs)
        if self._how.static:
            return found
        inputs = list(dict.fromkeys(n.input[0] for n in found.weighted))
        return replace(found, tensors=inputs, functions={}, groups=[])

    @property
    def part(self) -> onnx.ModelProto:
        """The part that the engine computes."""
        return self.model if self.able.part is self.model else up_to(self.model, self.able.ends)

    def observe(self, progress: Progress | None) -> Statistics:
        """Statistics of the samples, which are read here."""
        run = None if self.synthetic else self._run
        store = self._how.four.refits or self._how.sequential
        tensors, weighted = self.targets.tensors, self.targets.weighted
        seen = observe(self._shown, self.samples, tensors, weighted, progress, store=store, run=run, alike=self.alike)
        if self._how.judge and self._exact is not None and not self.synthetic:
            seen.wanted = answers(self._exact, self.able.ends, seen)
        self._run = self._exact = None  # their plans take as much memory as the model
        return seen
