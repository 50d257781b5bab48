"""4-bit weights: chooses the layers that get them, and rounds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import helper

from ..calibration.augment import Augmented
from ..calibration.output_error import Probe, float_outputs
from ..calibration.pair import fit
from ..calibration.spool import Spool
from ..calibration.walk import Walk
from ..choice import Choice, cheapest
from ..model import graph as g
from ..model.layers import Layer, write
from ..progress import Progress, counted
from .round import Grouped, Rounded, fitted4, nearest4

METADATA = "pycompress.weights"
GROUPS = (32, 64, 128, None)
ROUNDINGS = ("gptq", "plain")


@dataclass(frozen=True)
class Int4Options:
    """The arguments of `quantize` for 4-bit weights."""

    weights: int | str | Mapping[str, int]
    group_size: int | None
    rounding: str
    zero_points: bool
    share: float
    first_last: int

    def __post_init__(self):
        given = self.weights
        if isinstance(given, Mapping):
            fine = all(_one_of(bits, (8, 4)) for bits in given.values())
        else:
            fine = _one_of(given, (8, 4, "mixed"))
        if not fine:
            raise ValueError(f"weights must be 8, 4, 'mixed' or a dict of node names and 4 or 8, got {given!r}")
        if not _one_of(self.group_size, GROUPS):
            raise ValueError(f"group_size must be 32, 64, 128 or None, got {self.group_size!r}")
        if self.rounding not in ROUNDINGS:
            raise ValueError(f"rounding must be gptq or plain, got {self.rounding!r}")
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)) or not 0 < self.share < 1:
            raise ValueError(f"share must be in (0, 1), got {self.share!r}")
        if not _one_of(self.first_last, (8, 4)):
            raise ValueError(f"first_last must be 8 or 4, got {self.first_last!r}")

    @property
    def refits(self) -> bool:
        """Whether rounding needs the samples again."""
        return self.weights != 8 and self.rounding == "gptq"

    def choose(
        self, model: onnx.ModelProto, layers: list[Layer], samples: list[dict], progress: Progress | None = None
    ) -> dict[str, int]:
        """The bits of each layer, by name."""
        bits = dict.fromkeys((layer.name for layer in layers), 8)
        if self.weights == 8:
            return bits
        why = {layer.name: said for layer in layers if (said := _unable(layer))}
        if isinstance(self.weights, Mapping):
            if unknown := set(self.weights) - set(bits):
                raise ValueError(f"weights: the model has no node {min(unknown)!r} with weights to quantize")
            if unable := [name for name, b in self.weights.items() if b == 4 and name in why]:
                raise ValueError(f"weights: node {unable[0]!r} cannot have 4 bits: {why[unable[0]]}")
            return bits | self.weights
        if self.first_last == 8:
            for ends in g.ends(model, set(bits)):
                why = ends | why
        able = [layer for layer in layers if layer.name not in why]
        if not able:
            raise ValueError(
                f"weights: no layer can have 4 bits: {'; '.join(f'{n!r}: {said}' for n, said in why.items())}"
            )
        if self.weights == "mixed":
            able = self._most_robust(model, able, samples, progress)
        return bits | {layer.name: 4 for layer in able}

    def _most_robust(self, model: onnx.ModelProto, layers: list[Layer], samples: list[dict], progress) -> list[Layer]:
        """The `layers` whose 4 bits do the least damage to the model's outputs for the bytes that they save.

        A knapsack: together they save at least `share` of what all save. Damage is measured one layer at a time and with
        rounding to nearest: fitted errors are too small on the calibration samples to compare.
        """
        if not float_outputs(model):
            raise ValueError("weights='mixed': the model has no float output to measure damage by")
        probe, choices = Probe(model, layers, samples), []
        for layer in counted(layers, progress):
            given = self._nearest(layer)
            damage = probe.error(layer, given.dense(), given.bias)
            choices.append([Choice(4, damage, 0.0), Choice(8, 0.0, float(self._saved(layer)))])
        kept = (1 - self.share) * sum(own[1].added for own in choices)
        taken = [choice.value for choice in cheapest(choices, kept)]
        return [layer for layer, bits in zip(layers, taken) if bits == 4]

    def _saved(self, layer: Layer) -> int:
        """The bytes that 4 bits save over 8, with a float16 scale per group instead of a float32 one per row."""
        n, k = layer.w.shape
        groups = -(-k // self._group(layer))
        return n * k - -(-n * k // 2) + 4 * n - groups * n * 2 - self.zero_points * -(-groups * n // 2)

    def round(
        self,
        model: onnx.ModelProto,
        layers: list[Layer],
        rounded: Mapping[str, Rounded],
        samples: Spool | None,
        progress: Progress | None = None,
    ) -> dict[str, Grouped]:
        """The layers that are not in `rounded`, in 4 bits; for "gptq" the float `model` gets all rounded weights.

        `samples`: for "gptq"; they, and changed copies of few images, run through the model's nodes three times or so.
        """
        if not self.refits:
            return {layer.name: self._nearest(layer) for layer in layers if layer.name not in rounded}
        walk, found = Walk(model, Augmented.of(samples), samples[0]), {}
        shapes = {t.name: tuple(t.dims) for t in walk.whole.graph.initializer}
        for layer in counted(layers, progress):
            given = rounded.get(layer.name)
            if given is None:
                p = fit(layer, shapes[layer.node.input[1]], walk.inputs(layer.name))
                q = fitted4(p.w, p.h, self._group(layer), not self.zero_points)
                bias = p.bias(layer, q.dense())
                given = found[layer.name] = Grouped(q, layer.bias if bias is None else bias)
            write(model, layer, given.dense(), given.bias)
        return found

    def _nearest(self, layer: Layer) -> Grouped:
        return nearest4(layer, self._group(layer), not self.zero_points)

    def _group(self, layer: Layer) -> int:
        return self.group_size or layer.w.shape[1]

    def note(self, model: onnx.ModelProto, bits: Mapping[str, int]) -> None:
        """Writes a report into the model's metadata."""
        told = {"group_size": self.group_size, "rounding": self.rounding, "bits": dict(bits)}
        helper.set_model_props(model, g.metadata(model) | {METADATA: json.dumps(told)})


def _one_of(given, allowed: tuple) -> bool:
    return not isinstance(given, bool) and given in allowed


def _unable(layer: Layer) -> str:
    """Why the weights of `layer` need 8 bits."""
    if layer.uses > 1:
        return f"{layer.uses} nodes have its weights, which keep 8 bits: 4 are chosen for one node's inputs"
    if layer.groups > 1:
        return "depthwise" if layer.kernel else "grouped"
    return "its kernel has more than one cell" if layer.segments > 1 else ""
