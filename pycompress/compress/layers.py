"""The weights that pruning may change: found, read as matrices, and written back."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx

from ..errors import ModelError
from . import graph as g
from .choose import WEIGHTED, has_constant_weights
from .encode import bias_of, matrix, unmatrix


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights that may be pruned: those of `nodes`, which share one tensor if they are several.

    Attributes
    ----------
    w : float64[n,k], k runs over `segments` kernel cells, then channels
    bias : float64[n] of the first node, or None
    """

    nodes: list[onnx.NodeProto]
    w: np.ndarray
    segments: int
    bias: np.ndarray | None

    @property
    def node(self) -> onnx.NodeProto:
        return self.nodes[0]

    @property
    def name(self) -> str:
        return self.nodes[0].name

    @property
    def correct(self) -> bool:
        """Whether the bias can take up a mean error."""
        return self.node.op_type != "MatMul"


def float_model(model: g.Model, base_dir: str | os.PathLike | None, verb: str = "prune") -> onnx.ModelProto:
    """A copy of `model` ready for its weights to change: they are initializers, batch norm folded; refused if quantized."""
    model = g.as_model(model, base_dir)
    for node in model.graph.node:
        if "QLinear" in node.op_type or node.op_type.endswith(("Integer", "QuantizeLinear", "DequantizeLinear")):
            raise ModelError(f"node {node.name or node.output[0]!r}: the model is quantized already; {verb} it before")
    return g.prepare(model)


def find_layers(
    model: onnx.ModelProto, exclude: Iterable[str] | None, sparsity: float | dict[str, float]
) -> tuple[list[Layer], dict[str, str]]:
    """The layers to prune, in order, and why the others with weights are left alone."""
    nodes = {n.name: n for n in model.graph.node}
    exclude = g.excluded(exclude)
    named = set(sparsity) if isinstance(sparsity, dict) else set()
    for what, names in (("exclude", set(exclude or ())), ("sparsity", named)):
        if unknown := names - set(nodes):
            raise ValueError(f"{what}: the model has no node {min(unknown)!r}")
    values, readers = g.constants(model), g.consumers(model)
    weighted = weighted_nodes(model)
    why = {n.name: said for n in weighted if (said := unable(n, values))}
    able = [n for n in weighted if n.name not in why]
    if exclude is not None:
        why |= {name: "asked for" for name in exclude}
    else:
        first, last = g.ends(model, {n.name for n in weighted})
        why |= {n: said for n, said in [*last.items(), *first.items()] if n not in why and n not in named}
    if refused := [n for n in named if n in why or nodes[n] not in able]:
        said = why.get(refused[0], "no constant weights")
        raise ValueError(f"sparsity: node {refused[0]!r} cannot be pruned: {said}")
    layers: list[Layer] = []
    for node in able:
        alike = [n for n in readers[node.input[1]] if n in able and _use(n) == _use(node)]
        if len(alike) < len(readers[node.input[1]]) or node.input[1] in g.outputs(model):
            alike = [node]
        if alike[0] is not node and alike[0].name != node.name:
            why.setdefault(node.name, f"it shares the weights of {alike[0].name!r}")
            continue
        reason = next((why[n.name] for n in alike if n.name in why), None)
        if reason or named and node.name not in named:
            why.setdefault(node.name, reason or "not named")
            continue
        w, segments, _ = matrix(model, node)
        layers.append(Layer(alike, w, segments, bias_of(model, node, len(w))))
    if not layers:
        said = "; ".join(f"{name!r}: {reason}" for name, reason in why.items())
        raise ModelError(f"nothing to prune: {said or 'the model has no Conv, Gemm or MatMul with constant weights'}")
    return layers, why


def weighted_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The Conv, Gemm and MatMul with constant weights, in order."""
    values = g.constants(model)
    nodes = [n for n in model.graph.node if n.op_type in WEIGHTED and n.domain in ("", "ai.onnx")]
    return [n for n in nodes if len(n.input) > 1 and n.input[1] in values]


def unable(node: onnx.NodeProto, values) -> str | None:
    """Why the weights of a node cannot be changed as one matrix, or None."""
    if node.op_type == "Conv" and g.attribute(node, "group", 1) > 1:
        return "depthwise" if values[node.input[1]].dims[1] == 1 else "grouped"
    return None if has_constant_weights(node, values) else "not plain float32 weights"


def _use(node: onnx.NodeProto) -> tuple:
    return node.op_type, g.attribute(node, "transB", 0), g.attribute(node, "alpha", 1.0)


def write(model: onnx.ModelProto, layer: Layer, w: np.ndarray, bias: np.ndarray | None = None) -> None:
    """Gives the layer's nodes the weights `w` [n,k]; and a new `bias` [n]."""
    node, values, names = layer.node, g.constants(model), g.Names(model)
    tensor = values[node.input[1]]
    value, _ = unmatrix(w.astype(np.float32) + np.float32(0), node, tensor.dims)  # no negative zeros
    own = g.consumers(model)[node.input[1]]
    if len(own) > len(layer.nodes) or node.input[1] in g.outputs(model):
        node.input[1] = g.add_constant(model, names.fresh(f"{node.name}.pruned_weight"), value)
    else:
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    if bias is not None:
        name = g.add_constant(model, names.fresh(f"{node.name}.pruned_bias"), bias.astype(np.float32))
        for each in layer.nodes:
            each.input[:] = [*each.input[:2], name]
    for each in layer.nodes:
        for a in each.attribute:
            if each.op_type == "Gemm" and (a.name == "alpha" or a.name == "beta" and bias is not None):
                a.f = 1.0  # `matrix` and `bias_of` took it in
