"""Chooses the int16 accumulation depth of each layer: as large as the model's outputs tolerate.

A larger depth is faster and limits the weights more (kernels/qgemm.py). The effect of a layer's rounding on the
model's outputs is measured: in one network it differs a hundredfold between layers whose own outputs are equally
exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from ...rounding import SWEEPS
from ..calibration.output_error import Probe, float_outputs
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
BUDGET = 5e-4  # of the outputs' variance: the error that all depths above 2 together may add


def macs(layer: Layer) -> int:
    """The multiplications that its accumulation depth makes faster, for all calibration samples."""
    return 0 if layer.kernel else layer.moments.outputs * layer.w.size


def choices(probe: Probe | None, layer: Layer, kept: Rounded | None = None, small: bool = False) -> list[Choice]:
    """The ways to round `layer`, the slowest and most precise first, by `TRIAL` sweeps; one if it is `small` or depthwise.

    `kept`: weights that meet the bounds of some depth already, and add no error if they are kept.
    """
    if small:
        depth = next(iter(COST)) if layer.kernel else min(COST)
        good = kept is not None and (layer.kernel or kept.T >= depth)
        return [Choice(kept if good else round_layer(layer, depth, SWEEPS if layer.kernel else TRIAL), 0.0, 0.0)]
    found = [kept if kept is not None and kept.T >= T else round_layer(layer, T, TRIAL) for T in sorted(COST)]
    gain = probe.gain(layer, found[-1].scale)
    errors = [layer.error(r.dense() - layer.w) for r in found]
    added = [0.0 if r is kept else max(e - errors[0], 0.0) * gain for r, e in zip(found, errors)]
    return [Choice(r, COST[T] * macs(layer), a) for r, T, a in zip(found, sorted(COST), added)]


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
    options = [choices(probe, *given) for given in counted(zip(layers, found, small), progress)]
    taken = [choice.value for choice in cheapest(options, BUDGET)]
    return [
        r if r is was or layer.kernel else round_layer(layer, r.T, SWEEPS - TRIAL, r)
        for layer, r, was in zip(layers, taken, found)
    ]


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
