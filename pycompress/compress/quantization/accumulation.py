"""Chooses the int16 accumulation depth of each layer: as large as the model's outputs tolerate.

A larger depth is faster and limits the weights more (kernels/qgemm.py). The effect of a layer's rounding on the
model's outputs is measured: in one network it differs a hundredfold between layers whose own outputs are equally
exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
import onnx
from onnx import helper

from ...rounding import SWEEPS
from ..calibration.output_error import Probe, expected, float_outputs
from ..choice import Choice, cheapest
from ..model import graph as g
from ..model.layers import Layer
from ..progress import Progress, counted
from .round import Rounded, round_layer

METADATA = "pycompress.accumulate"
COST = {
    8: 0.72,
    4: 0.84,
    2: 1.0,
}  # relative time of a product by accumulation depth, on AVX2; 1 is neither faster than 2 nor more precise
TARGETS = {  # by CPU, the accumulation depth that weights are rounded for; 0: none, they keep their full range
    "portable": "auto", "avx2": "auto", "neon": "auto", "avxvnni": 0, "avx512vnni": 0, "vnni": 0, "amx": 0, "dotprod": 0,
    "arm": 0,
}  # fmt: skip
MIN_SHARE = (
    2e-3  # of the model's multiplications: below it a layer gets the smallest depth, for a larger one saves nothing
)
PROBED = 2  # samples for which it is measured how an error reaches the outputs
TRIAL = 1  # sweeps of coordinate descent for the depths among which is chosen; the chosen weights get the rest
EASY = 0.25  # of the budget: layers that together add less with the maximum depth are not rounded for others
GROUP = 4  # neighbours that are measured together first, where it is likely that most are easy
NEAR = 8  # times the budget, if all layers have the maximum depth: where that is likely
BUDGET = 5e-4  # of the outputs' variance: the error that all depths above 2 together may add


def macs(layer: Layer) -> int:
    """The multiplications that its accumulation depth makes faster, for all calibration samples."""
    return 0 if layer.kernel else layer.moments.outputs * layer.w.size


class Options:
    """The ways to round a layer, by `TRIAL` sweeps; one if it is `small` or depthwise.

    `kept`: weights that meet the bounds of some depth already, and add no error if they are kept.
    """

    def __init__(self, probe: Probe | None, layer: Layer, kept: Rounded | None = None, small: bool = False):
        self.layer, self.kept, self.small = layer, kept, small
        if small:
            depth = next(iter(COST)) if layer.kernel else min(COST)
            good = kept is not None and (layer.kernel or kept.T >= depth)
            self.only = kept if good else self._rounded(depth, SWEEPS if layer.kernel else TRIAL)
            return
        self._probe, self._errors = probe, {}
        self._found = {max(COST): self._at(max(COST))}

    @cached_property
    def _gain(self) -> float:
        return self._probe.gain(self.layer, self.rounded(max(COST)).scale) * max(len(self.layer.members), 1)

    def rounded(self, T: int) -> Rounded:
        """The layer for accumulation depth `T`."""
        if T not in self._found:
            self._found[T] = self._at(T)
        return self._found[T]

    def error(self, T: int) -> float:
        """The expected squared error of the layer's outputs for accumulation depth `T`."""
        if T not in self._errors:
            self._errors[T] = self.layer.error(self.rounded(T).off(self.layer.w32))
        return self._errors[T]

    @property
    def noise(self) -> tuple[Layer, np.ndarray]:
        """The layer, and the steps [n] of random errors that have the effect of the maximum depth, in all nodes with its weights."""
        step, times = self.rounded(max(COST)).scale, max(len(self.layer.members), 1)
        wanted = 0.0 if self.rounded(max(COST)) is self.kept else self.error(max(COST)) * times
        return self.layer, step * np.sqrt(wanted / max(expected(self.layer, step), 1e-300))

    def _rounded(self, T: int, sweeps: int, start: Rounded | None = None, final: bool = False) -> Rounded:
        return round_layer(self.layer, T, sweeps, start, None, final or bool(self.layer.kernel))

    def _at(self, T: int) -> Rounded:
        return self.kept if self.kept is not None and self.kept.T >= T else self._rounded(T, TRIAL)

    @cached_property
    def bound(self) -> float:
        """What the maximum depth adds to the error of the model's outputs at most: what it has."""
        return 0.0 if self.rounded(max(COST)) is self.kept else self.error(max(COST)) * self._gain

    def choices(self, depths: Iterable[int], easy: bool = False) -> list[Choice]:
        """Those of `depths`, the slowest and most precise first; only the maximum if it is `easy`."""
        if self.small:
            return [Choice(self.only, 0.0, 0.0)]
        if easy:
            return [Choice(self.rounded(max(COST)), COST[max(COST)] * macs(self.layer), self.bound)]
        return [Choice(self.rounded(T), COST[T] * macs(self.layer), self._added(T)) for T in sorted(depths)]

    def _added(self, T: int) -> float:
        if T == min(COST) or self.rounded(T) is self.kept:
            return 0.0
        more = max(self.error(T) - self.error(min(COST)), 0.0)
        return more and more * self._gain

    def finished(self, taken: Rounded) -> Rounded:
        """The choice `taken` with all sweeps."""
        if taken is self.kept or self.layer.kernel:
            return taken
        return self._rounded(taken.T, SWEEPS - TRIAL, taken, True)


def round_layers(
    model: onnx.ModelProto,
    layers: list[Layer],
    samples: list[dict[str, np.ndarray]],
    accumulate: str | int,
    kept: Mapping[str, Rounded] | None = None,
    progress: Progress | None = None,
) -> list[Rounded]:
    """All layers of the float `model`, rounded for accumulation depth `accumulate`; see `quantize` for "auto"."""
    found = [(kept or {}).get(layer.node.name) for layer in layers]
    if accumulate != "auto":
        return [
            was if was is not None and (layer.kernel or was.T >= accumulate) else round_layer(layer, accumulate)
            for layer, was in counted(zip(layers, found), progress)
        ]
    if not float_outputs(model):
        return round_layers(model, layers, samples, min(COST), kept, progress)
    least = MIN_SHARE * sum(map(macs, layers))
    small = [macs(layer) < least or bool(layer.kernel) for layer in layers]
    probed = [layer for layer, less in zip(layers, small) if not less]
    probe = Probe(model, probed, samples[:PROBED]) if probed else None
    options = [Options(probe, *given) for given in counted(zip(layers, found, small), progress)]
    taken = [o.only if o.small else o.rounded(max(COST)) for o in options]
    large = [o for o in options if not o.small]
    added = probe.together([o.noise for o in large], BUDGET) if probe else 0.0
    if added > BUDGET:
        easy = _easy(probe, large, GROUP if added <= NEAR * BUDGET else 1)
        ends = [o.choices((min(COST), max(COST)), o in easy) for o in options]
        if sum(own[-1].added for own in ends) > BUDGET:  # else all take the largest, whatever those between are
            ends = [o.choices(COST, o in easy) for o in options]
        taken = [choice.value for choice in cheapest(ends, BUDGET)]
    return [o.finished(choice) for o, choice in zip(options, taken)]


def _easy(probe: Probe, options: list[Options], count: int) -> set[Options]:
    """Those that with the maximum depth add so little, all together, that it does not matter what they add with others.

    Of `count` neighbours it is measured at once what they add; they are easy together.
    """
    groups = [options[i : i + count] for i in range(0, len(options), count)]
    for own in groups if count > 1 else ():
        added = probe.together([o.noise for o in own], BUDGET, draws=1)
        for o in own:
            o.bound = added / len(own)
    found, total = set(), 0.0
    for own in sorted(groups, key=lambda own: sum(o.bound for o in own)):
        total += sum(o.bound for o in own)
        if total > EASY * BUDGET:
            break
        found.update(own)
    return found


def depth_for(target: str, accumulate: str | int | None) -> str | int:
    """The accumulation depth: `accumulate` or, where that is None, what `target` needs."""
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    if accumulate is None:
        return TARGETS[target]
    checked(accumulate)
    if target != "portable" and accumulate != TARGETS[target]:
        raise ValueError(
            f"target {target!r} means accumulate={TARGETS[target]!r}; give one of the two, got {accumulate!r}"
        )
    return accumulate


def checked(accumulate: str | int, minimum: int = 0) -> None:
    """Checks the argument `accumulate`."""
    allowed = [T for T in (0, 1, 2, 4, 8) if T >= minimum]
    if accumulate not in ("auto", *allowed) or isinstance(accumulate, bool):
        raise ValueError(f"accumulate must be 'auto', {', '.join(map(str, allowed[:-1]))} or 8, got {accumulate!r}")


def note(model: onnx.ModelProto, layers: list[Layer], rounded: list[Rounded]) -> None:
    """Writes the accumulation depth of each layer, except depthwise ones, into the model's metadata."""
    steps = {layer.node.name: given.T for layer, given in zip(layers, rounded) if not layer.kernel}
    helper.set_model_props(model, g.metadata(model) | {METADATA: json.dumps(steps)})
