"""A float model with everything that is needed to write it with any form in any layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx

from ...errors import ModelError
from ...rounding import round_groups
from ..calibration.computable import Computable, computable
from ..calibration.observe import KEPT, Statistics, observe
from ..calibration.sequential import problem
from ..cast import MIN_ELEMENTS, cast
from ..factorize import factorize
from ..model import graph as g
from ..model.affine import fold_affine
from ..model.layers import Layer, read_layer
from ..model.matrix import matrix
from ..model.prepare import check, prepare
from ..progress import Progress, counted
from ..prune import prune
from ..quantization.accumulation import round_layers
from ..quantization.qdq import insert_pairs, write_layer
from ..quantization.round import Grouped, Rounded
from ..quantization.shared import firsts, joined, separated, uses
from ..quantization.targets import OPERATORS, Grid, Targets, choose_grids, choose_targets
from .network import Between, Unit, units_of
from .table import FLOATS

GROUP = 32  # inputs that share a scale of 4-bit weights
SQUASHES = ("Softmax", "LogSoftmax", "Sigmoid", "Identity")
HALVES = ("float16", "bfloat16")
PATTERN, SPARSITY = "1x4", 0.75  # of sparse int8 weights
SHARE = 0.5  # of a layer's multiplications that its low-rank factors need
RANKS = 8  # ranks are multiples of this


@dataclass(frozen=True, eq=False)
class Network:
    """A float model and what calibration found out about it.

    Attributes
    ----------
    model : with batch norm and constants folded
    able : the part that the engine computes
    targets : what runs on integers where all is quantized
    ends : the tensors by which errors are measured: the outputs, but what a final Softmax or Sigmoid is applied to
    units, links : the parts that get a form, and the tensors between them
    seen : statistics
    grids : of activations where all is quantized
    layers : with weights, by name
    """

    model: onnx.ModelProto
    able: Computable
    targets: Targets
    ends: list[str]
    units: list[Unit]
    links: list[Between]
    seen: Statistics
    grids: dict[str, Grid]
    layers: dict[str, Layer]


def calibrated(
    model: onnx.ModelProto, samples: Sequence[dict], progress: Progress | None = None, exclude: Iterable[str] = ()
) -> Network:
    """The network of a float `model`, which is changed; the nodes `exclude` stay in float."""
    model = prepare(model, 21)
    exclude = set(exclude)
    if unknown := exclude - {n.name for n in model.graph.node}:
        raise ValueError(f"exclude: the model has no node {min(unknown)!r}")
    fold_affine(model, exclude)
    able = computable(model, samples[0])
    targets = choose_targets(model, set(OPERATORS), exclude | set(able.why), False)
    if not targets.tensors:
        raise ModelError("nothing to quantize: the model has no operator with an integer kernel and constant weights")
    units, links = units_of(model, targets)
    alike = firsts(targets.weighted)
    seen = observe(model, samples, targets.tensors, targets.weighted, progress, KEPT, alike=alike)
    times = uses(alike)
    grids = choose_grids(model, targets, seen.histograms, "mse", 99.99, False)
    layers = {
        n.name: read_layer(model, n, x=grids[n.input[0]], moments=seen.moments[n.name], uses=times.get(n.name, 1))
        for n in targets.weighted
    }
    return Network(model, able, targets, scores(model, able.ends), units, links, seen, grids, layers)


def scores(model: onnx.ModelProto, ends: Sequence[str]) -> list[str]:
    """`ends`, but instead of probabilities what they are computed from: errors of these add up, those of probabilities do not."""
    makers, found = g.producers(model), []
    for end in ends:
        while (node := makers.get(end)) is not None and node.op_type in SQUASHES:
            end = node.input[0]
        found.append(end)
    return list(dict.fromkeys(found))


class Forms:
    """The weights of each layer in each form, computed when they are first needed."""

    def __init__(self, network: Network, accumulate: str | int, progress: Progress | None = None):
        self.network, self.accumulate, self.progress = network, accumulate, progress
        self._eight: dict[str, Rounded] = {}
        self._four: dict[str, Grouped] = {}
        self._sparse: dict[str, Rounded] = {}

    def names(self, unit: Unit, wanted: Sequence[str]) -> list[str]:
        """The forms out of `wanted` that `unit` can have."""
        if not unit.weighted:
            return [f for f in ("float", "int8") if f in wanted]
        layer = self.network.layers[unit.name]
        plain = not _only8(layer)
        able = {"int4": plain, "sparse": plain, "lowrank": plain and self.rank(layer) >= RANKS}
        able |= dict.fromkeys(HALVES, layer.w.size >= MIN_ELEMENTS)
        return [f for f in wanted if able.get(f, True)]

    @staticmethod
    def rank(layer: Layer) -> int:
        """The rank with which low-rank factors need `SHARE` of the multiplications."""
        n, k = layer.w.shape
        return int(SHARE * n * k / (n + k)) // RANKS * RANKS

    @property
    def eight(self) -> dict[str, Rounded]:
        """int8 weights."""
        if not self._eight:
            layers, seen, part = list(self.network.layers.values()), self.network.seen, self.network.able.part
            layers = joined(layers, firsts([layer.node for layer in layers]), seen.common)
            self._eight = separated(
                layers, round_layers(part, layers, seen.first, self.accumulate, None, self.progress)
            )
        return self._eight

    @property
    def four(self) -> dict[str, Grouped]:
        """4-bit weights of the layers that can have them, each fitted to its inputs in the float network."""
        if not self._four:
            able = [x for x in self.network.layers.values() if not _only8(x)]
            for layer in counted(able, self.progress):
                p = problem(layer, layer.moments)
                q = round_groups(p.w, GROUP, True, p.h)
                bias = p.bias(layer, q.dense())
                self._four[layer.name] = Grouped(q, layer.bias if bias is None else bias)
        return self._four

    @property
    def sparse(self) -> dict[str, Rounded]:
        """int8 weights with zeros in blocks, by magnitude, of the layers that can have 4 bits, too."""
        if not self._sparse:
            able = {x.name: SPARSITY for x in self.network.layers.values() if not _only8(x)}
            pruned = prune(self.network.model, able, pattern=PATTERN)
            nodes = {n.name: n for n in pruned.graph.node}
            layers = [replace(self.network.layers[n], w=matrix(pruned, nodes[n])[0]) for n in able]
            found = round_layers(pruned, layers, self.network.seen.first, self.accumulate, None, self.progress)
            self._sparse = dict(zip(able, found))
        return self._sparse

    def build(self, forms: Mapping[str, str]) -> onnx.ModelProto:
        """The model with a form for each unit."""
        network = self.network
        model = g.copied(network.model)
        if ranks := self.ranks(forms):
            model = factorize(model, rank=ranks)
        whole = {n for u in network.units if forms[u.name] not in FLOATS for n in u.nodes}
        excluded = {n.name for n in model.graph.node} - whole - self._within()
        targets = choose_targets(model, set(OPERATORS), excluded | set(network.able.why), False)
        while unknown := set(targets.tensors) - set(network.grids):
            excluded |= {n.name for n in model.graph.node if unknown & {*n.input, targets.functions.get(n.name)}}
            targets = choose_targets(model, set(OPERATORS), excluded | set(network.able.why), False)
        grids = {name: network.grids[name] for name in targets.tensors}
        written: dict[tuple, str] = {}
        for node in targets.weighted:
            layer = replace(network.layers[node.name], nodes=[_node(model, node.name)])
            kinds = {"int8": lambda: self.eight, "int4": lambda: self.four, "sparse": lambda: self.sparse}
            write_layer(model, layer, kinds[forms[node.name]]()[node.name], written)
        if targets.tensors:
            insert_pairs(model, targets, grids, False)
        for kind in HALVES:
            if chosen := {u.name for u in network.units if forms[u.name] == kind and u.weighted}:
                g.drop_unused(model)
                model = cast(model, kind, exclude={n.name for n in model.graph.node} - chosen)
        g.drop_unused(model)
        check(model)
        return model

    def ranks(self, forms: Mapping[str, str]) -> dict[str, int]:
        """The rank of each layer that is factorized."""
        layers = self.network.layers
        return {u.name: self.rank(layers[u.name]) for u in self.network.units if forms[u.name] == "lowrank"}

    def steps(self, forms: Mapping[str, str], target: str) -> dict[str, dict[str, Any]]:
        """The steps and options of a recipe that makes such a model."""
        units, steps = self.network.units, {}
        names: dict[str, list[str]] = {}
        for unit in units:
            names.setdefault(forms[unit.name], []).append(unit.name)
        if "sparse" in names:
            steps["prune"] = {"sparsity": dict.fromkeys(names["sparse"], SPARSITY), "pattern": PATTERN}
        if "lowrank" in names:
            steps["factorize"] = {"rank": self.ranks(forms)}
        if names.keys() - set(FLOATS):
            steps["quantize"] = {"target": target, "interleave": False}  # forms are measured without copies of channels
            excluded = [n for u in units if forms[u.name] in FLOATS and forms[u.name] != "lowrank" for n in u.nodes]
            excluded += [f"{name}/{part}" for name in names.get("lowrank", ()) for part in "uv"]
            steps["quantize"] |= {"exclude": excluded} if excluded else {}
            steps["quantize"] |= {"weights": dict.fromkeys(names["int4"], 4)} if "int4" in names else {}
        for kind in HALVES:
            if any(forms[u.name] == kind and u.weighted for u in units):
                own = [u.name for u in units if u.weighted and forms[u.name] in FLOATS and forms[u.name] != kind]
                steps["cast"] = {"dtype": kind} | ({"exclude": own} if own else {})
        return steps

    def _within(self) -> set[str]:
        """Activations that are part of the rounding of the node before them."""
        nodes = {n for u in self.network.units for n in u.nodes}
        return {n.name for n in self.network.model.graph.node if n.output[0] in self.network.targets.made} - nodes


def _only8(layer: Layer) -> bool:
    """Whether the weights of `layer` need 8 bits: 4-bit groups lie along a sum over channels alone, of one node."""
    return layer.groups > 1 or layer.segments > 1 or layer.uses > 1


def _node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == name)
