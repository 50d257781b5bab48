"""How many steps share an int16 lane, layer by layer: as many as the model's outputs bear.

Wider windows are faster and leave the weights less room (kernels/qgemm.py). What a layer's rounding
does to the outputs is measured, not guessed from the layer: in one network it differs a hundredfold
between layers whose own outputs are equally exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..session import InferenceSession
from . import graph as g
from .encode import Layer, Rounded, round_layer, unmatrix

METADATA = "pycompress.accumulate"
COST = {
    8: 0.72,
    4: 0.84,
    2: 1.0,
}  # of a product by its steps per window, on AVX2; 1 is no faster than 2 nor more precise
BUDGET = 1e-3  # of the variance of the outputs: what windows of more than two steps may add to their error, together


class Probe:
    """The float model with weights that can be exchanged, and its answers to a few samples."""

    def __init__(self, model: onnx.ModelProto, layers: list[Layer], samples: list[dict[str, np.ndarray]]):
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        nodes, names = {n.name: n for n in probe.graph.node}, g.Names(probe)
        self.inputs: dict[str, list[str]] = {}
        self.values: dict[str, np.ndarray] = {}
        for layer in layers:
            node, own = nodes[layer.node.name], []
            for kind, value in zip(("weight", "bias"), self._arrays(model, layer, layer.w, layer.bias)):
                own.append(names.fresh(f"{node.name}.{kind}.probed"))
                self.values[own[-1]] = value
                probe.graph.input.append(helper.make_tensor_value_info(own[-1], TensorProto.FLOAT, value.shape))
            node.input[:] = [node.input[0], *own]
            self.inputs[node.name] = own
            for a in node.attribute:
                if node.op_type == "Gemm" and a.name in ("alpha", "beta"):
                    a.f = 1.0
        floats = float_outputs(model)
        g.drop_unused(probe)
        self.model, self.samples = model, samples
        run = InferenceSession(probe).run
        self.answer = lambda values: [run(floats, {**sample, **values}) for sample in samples]
        self.wanted = self.answer(self.values)

    @staticmethod
    def _arrays(model, layer: Layer, w: np.ndarray, bias: np.ndarray | None) -> list[np.ndarray]:
        """Weights and bias as the node takes them."""
        shape = g.constants(model)[layer.node.input[1]].dims
        arrays = [unmatrix(w, layer.node, shape)[0]]
        if layer.node.op_type != "MatMul":
            arrays.append(np.zeros(len(w)) if bias is None else bias)
        return [np.ascontiguousarray(a, np.float32) for a in arrays]

    def gain(self, layer: Layer, step: np.ndarray) -> float:
        """What an error of the layer's outputs, expected and squared, becomes at the model's, relative to their variance.

        Measured with random errors of the weights of up to half a `step` [n]: those of rounding are
        fitted to the calibration samples and vanish on them.
        """
        off = np.random.default_rng(0).uniform(-0.5, 0.5, layer.w.shape) * step[:, None]
        error, shift = layer.error(off)
        bias = layer.bias if shift is None else (0 if layer.bias is None else layer.bias) - shift
        return self.error(layer, layer.w + off, bias) / max(error, 1e-300)

    def error(self, layer, w: np.ndarray, bias: np.ndarray | None) -> float:
        """The squared error of the model's outputs, relative to their variance, if `layer` has the weights `w` [n,k]."""
        arrays = self._arrays(self.model, layer, w, bias)
        got = self.answer(self.values | dict(zip(self.inputs[layer.node.name], arrays)))
        total = 0.0
        for ours, theirs in zip(zip(*got), zip(*self.wanted)):
            ours, theirs = (np.concatenate([x.ravel() for x in xs]).astype(float) for xs in (ours, theirs))
            total += np.square(ours - theirs).mean() / max(theirs.var(), 1e-30) if theirs.size else 0.0
        return float(total)


def float_outputs(model: onnx.ModelProto) -> list[str]:
    """The outputs whose errors can be measured."""
    return [o.name for o in model.graph.output if o.type.tensor_type.elem_type == TensorProto.FLOAT]


def macs(layer: Layer) -> int:
    """The multiplications that choosing its window makes faster, for all samples that were seen."""
    return 0 if layer.kernel else layer.met.outputs * layer.w.size


@dataclass(frozen=True, eq=False)
class Choice:
    """One way to round a layer: what it costs, and what it adds to the error of the model's outputs."""

    rounded: Rounded
    cost: float
    added: float


def choices(probe: Probe, layer: Layer, kept: Rounded | None = None) -> list[Choice]:
    """The ways to round `layer`, dearest and most precise first.

    `kept`: weights that are proven for some window already, and add nothing where they are kept.
    """
    if layer.kernel:
        return [Choice(kept or round_layer(layer, next(iter(COST))), 0.0, 0.0)]
    found = [kept if kept is not None and kept.T >= T else round_layer(layer, T) for T in sorted(COST)]
    gain = probe.gain(layer, found[-1].scale)
    added = [0.0 if r is kept else max(r.error - found[0].error, 0.0) * gain for r in found]
    return [Choice(r, COST[T] * macs(layer), a) for r, T, a in zip(found, sorted(COST), added)]


def cheapest(options: list[list[Choice]], budget: float) -> list[Choice]:
    """One of the choices for each layer: the cheapest that together add no more than `budget`.

    By Lagrange's multiplier: for a price of error each layer's best is its own affair, and the price falls as far as the
    budget allows.
    """

    def at(price: float) -> list[Choice]:
        return [min(own, key=lambda c: (c.cost + price * c.added, -c.cost)) for own in options]

    def fits(taken: list[Choice]) -> bool:
        return sum(c.added for c in taken) <= budget

    low, high = 0.0, 1.0
    if fits(at(low)):
        return at(low)
    while not fits(at(high)) and high < 1e300:
        low, high = high, high * 16
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(at(middle)) else (middle, high)
    return at(high)


def round_layers(
    model: onnx.ModelProto,
    layers: list[Layer],
    samples: list[dict[str, np.ndarray]],
    accumulate: str | int,
    kept: Mapping[str, Rounded] | None = None,
) -> list[Rounded]:
    """All layers of the float `model`, rounded for windows of `accumulate` steps; see `quantize` for "auto"."""
    found = [(kept or {}).get(layer.node.name) for layer in layers]
    if accumulate != "auto":
        return [
            was if was is not None and (layer.kernel or was.T >= accumulate) else round_layer(layer, accumulate)
            for layer, was in zip(layers, found)
        ]
    if not float_outputs(model):
        return round_layers(model, layers, samples, min(COST), kept)
    probe = Probe(model, layers, samples)
    options = [choices(probe, layer, was) for layer, was in zip(layers, found)]
    return [taken.rounded for taken in cheapest(options, BUDGET)]


def checked(accumulate: str | int, least: int = 0) -> None:
    """Refuses what `accumulate` may not be."""
    allowed = [T for T in (0, 1, 2, 4, 8) if T >= least]
    if accumulate not in ("auto", *allowed) or isinstance(accumulate, bool):
        raise ValueError(f"accumulate must be 'auto', {', '.join(map(str, allowed[:-1]))} or 8, got {accumulate!r}")


def note(model: onnx.ModelProto, layers: list[Layer], rounded: list[Rounded]) -> None:
    """Writes the steps per window of each layer, depthwise ones excepted, into the model's metadata."""
    steps = {layer.node.name: given.T for layer, given in zip(layers, rounded) if not layer.kernel}
    helper.set_model_props(model, g.metadata(model) | {METADATA: json.dumps(steps)})
