"""Chooses the int16 accumulation depth of each layer: as large as the model's outputs tolerate.

A larger depth is faster and limits the weights more (kernels/qgemm.py). The effect of a layer's rounding on the
model's outputs is measured: in one network it differs a hundredfold between layers whose own outputs are equally
exact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import helper

from ...rounding import SWEEPS
from ..calibration.output_error import Probe, float_outputs
from ..choice import Choice, cheapest
from ..model import graph as g
from ..model.layers import Layer
from ..progress import Progress, counted
from .round import Rounded, inputs_of, round_layer

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
BUDGET = 5e-4  # of the outputs' variance: the error that all depths above 2 together may add


def macs(layer: Layer) -> int:
    """The multiplications that its accumulation depth makes faster, for all calibration samples."""
    return 0 if layer.kernel else layer.moments.outputs * layer.w.size


class Options:
    """The ways to round a layer, by `TRIAL` sweeps; one if it is `small` or depthwise.

    `kept`: weights that meet the bounds of some depth already, and add no error if they are kept.
    """

    def __init__(self, probe: Probe | None, layer: Layer, kept: Rounded | None = None, small: bool = False):
        self.layer, self.kept, self.small, self._inputs = layer, kept, small, None
        if small:
            depth = next(iter(COST)) if layer.kernel else min(COST)
            good = kept is not None and (layer.kernel or kept.T >= depth)
            self.only = kept if good else self._rounded(depth, SWEEPS if layer.kernel else TRIAL)
            return
        if kept is None or kept.T < max(COST):
            self._inputs = inputs_of(layer)
        self._found = {T: self._at(T) for T in (min(COST), max(COST))}
        self._inputs = None  # those of all layers would take as much memory again as their covariances
        self._gain = probe.gain(layer, self._found[max(COST)].scale) * max(len(layer.members), 1)  # of the first node
        self._errors = {T: layer.error(r.off(layer.w32)) for T, r in self._found.items()}

    def _rounded(self, T: int, sweeps: int, start: Rounded | None = None, final: bool = False) -> Rounded:
        return round_layer(self.layer, T, sweeps, start, self._inputs, final or bool(self.layer.kernel))

    def _at(self, T: int) -> Rounded:
        return self.kept if self.kept is not None and self.kept.T >= T else self._rounded(T, TRIAL)

    def choices(self, depths: Iterable[int]) -> list[Choice]:
        """Those of `depths`, the slowest and most precise first."""
        if self.small:
            return [Choice(self.only, 0.0, 0.0)]
        for T in set(depths) - self._found.keys():
            self._found[T] = self._at(T)
            self._errors[T] = self.layer.error(self._found[T].off(self.layer.w32))
        return [Choice(self._found[T], COST[T] * macs(self.layer), self._added(T)) for T in sorted(depths)]

    def _added(self, T: int) -> float:
        more = max(self._errors[T] - self._errors[min(COST)], 0.0)
        return 0.0 if self._found[T] is self.kept else more * self._gain

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
    ends = [o.choices((min(COST), max(COST))) for o in options]
    if sum(own[-1].added for own in ends) > BUDGET:  # else all take the largest, whatever those between are
        ends = [o.choices(COST) for o in options]
    return [o.finished(choice.value) for o, choice in zip(options, cheapest(ends, BUDGET))]


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
