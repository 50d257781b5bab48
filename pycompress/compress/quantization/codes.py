"""The codes of a network's weights, the grids of its activations, and the network that is written with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import onnx

from ..model import graph as g
from ..model.layers import read_layer
from ..model.prepare import check
from ..progress import Progress
from ..verdict import CalibrationWarning, warn
from .accumulation import note, round_layers
from .dynamic import OPERATORS as DYNAMIC
from .dynamic import write_dynamic
from .floats import Floats
from .options import Options
from .qdq import insert_pairs, write_layer
from .recurrent import lstms, write_lstm
from .shared import joined, separated, uses
from .targets import choose_grids

FEW = 32  # different samples: fewer do not show what 4-bit weights are fitted to


class Codes:
    """The weights of each layer in 8 or 4 bits, and the grids of activations.

    Attributes
    ----------
    seen : statistics of the samples
    layers : those with weights, in order
    """

    def __init__(self, floats: Floats, how: Options, progress: Progress | None = None):
        self._floats, self._how = floats, how
        self.seen = seen = floats.observe(progress)
        model, targets, part = floats.model, floats.targets, floats.part
        self._grids = {}
        if how.static:
            self._grids = choose_grids(model, targets, seen.histograms, how.method, how.percentile, how.symmetric)
        times = uses(floats.alike)
        self.layers = [
            read_layer(
                model, n, correct=bool(how.bias_correction), x=self._grids.get(n.input[0]), moments=seen.moments[n.name],
                uses=times.get(n.name, 1),
            )
            for n in targets.weighted
        ]  # fmt: skip
        self._bits = bits = how.four.choose(part, self.layers, seen.first, progress)
        self._four = 4 in bits.values()
        if how.four.refits and self._four and seen.distinct < FEW:
            said = f"quantize: 4-bit weights are fitted to {seen.distinct} different samples; give at least {FEW}"
            warn(said, CalibrationWarning)
        eight = joined([x for x in self.layers if bits[x.name] == 8], floats.alike, seen.common)
        self._rounded: dict[str, Any] = separated(
            eight, round_layers(part, eight, seen.first, how.accumulate, None, progress)
        )
        if self._four:
            self._rounded |= how.four.round(model, self.layers, self._rounded, seen.spool, progress)

    def build(self, left: Iterable[str] = ()) -> onnx.ModelProto | None:
        """The quantized model, without the nodes `left`; None if other tensors would have to be rounded then."""
        floats, how = self._floats, self._how
        made = g.copied(floats.model)
        targets = floats.chosen(made, left)
        if how.static and not self._grids.keys() >= set(targets.tensors):
            return None
        nodes = {n.name: n for n in targets.weighted}
        self._write([replace(x, nodes=[nodes[x.name]]) for x in self.layers if x.name in nodes], made)
        if how.lstm:
            common: dict[tuple[str, str], tuple[str, str, str]] = {}
            for node in lstms(made, floats.without(left))[0]:
                write_lstm(made, node, common)
        if how.static:
            grids = {name: self._grids[name] for name in targets.tensors}
            insert_pairs(made, targets, grids, how.quantize_outputs)
        g.drop_unused(made)
        check(made)
        return made

    def _write(self, layers: list, made: onnx.ModelProto) -> None:
        """Gives `layers` their codes, and tells in the metadata which they are."""
        dynamic, bits, written = self._how.activations == "dynamic", self._bits, {}
        names = None if dynamic else g.Names(made)
        for layer in layers:
            if dynamic and layer.node.op_type in DYNAMIC and bits[layer.name] == 8:
                write_dynamic(made, layer, self._rounded[layer.name], written)
            else:
                write_layer(made, layer, self._rounded[layer.name], written, names)
        eight = [layer for layer in layers if bits[layer.name] == 8]
        note(made, eight, [self._rounded[layer.name] for layer in eight])
        if self._four:
            self._how.four.note(made, {layer.name: bits[layer.name] for layer in layers})
