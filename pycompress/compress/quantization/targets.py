"""Chooses the nodes of a model that run on integers, and the grids of activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from ..calibration.histogram import Histogram
from ..model import graph as g
from ..model.layers import WEIGHTED, has_constant_weights
from .functions import BINARY, UNARY, functions, operands, responses

POOLS = ("AveragePool", "GlobalAveragePool", "ReduceMean")
REARRANGES = (
    "MaxPool",
    "Flatten",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Split",
    "Identity",
    "Dropout",
    "Concat",
    "DepthToSpace",
    "SpaceToDepth",
    "Pad",
    "Resize",
)  # fmt: skip; the result has the codes of the input, so both have one grid
MIN_SCALE = 1e-28  # of an activation: its products with scales of weights are still normal numbers
OPERATORS = (*WEIGHTED, *BINARY, *POOLS, *UNARY, *REARRANGES)


@dataclass(frozen=True)
class Targets:
    """The nodes and tensors to quantize.

    Attributes
    ----------
    nodes : names of the nodes that run on integers
    weighted : those of them with constant weights
    tensors : the activations that get a grid, in order
    made : the tensors that these nodes, and the activation functions fused into them, compute
    groups : tensors that must share a grid
    functions : by name of a node that computes one tensor from another element by element: that other tensor
    """

    nodes: set[str]
    weighted: list[onnx.NodeProto]
    tensors: list[str]
    made: set[str]
    groups: list[set[str]]
    functions: dict[str, str]


def choose_targets(model: onnx.ModelProto, operators: set[str], exclude: set[str], with_outputs: bool) -> Targets:
    """Chooses the nodes that run on integers.

    These are nodes with constant weights, and others whose result is read by such a node. A Relu or Clip
    right after such a node becomes part of its rounding to uint8. Functions of a tensor that stays float stay float.
    """
    values, types = g.constants(model), g.element_types(model)
    readers, makers, out = g.consumers(model), g.producers(model), g.outputs(model)

    def eligible(node) -> bool:
        if node.op_type not in operators or node.name in exclude or node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type in WEIGHTED and not has_constant_weights(node, values):
            return False
        data = data_inputs(node, values)
        if not data or any(n in values or types.get(n) != TensorProto.FLOAT for n in [*data, node.output[0]]):
            return False
        if node.op_type in ("Pad", "Resize") and not _rearranges(node, values):
            return False
        return node.op_type == "Split" or sum(map(bool, node.output)) == 1

    able = {n.name for n in model.graph.node if eligible(n)}

    def absorbed(node) -> bool:
        before = makers.get(node.input[0]) if node.op_type in ("Relu", "Clip") and node.name not in exclude else None
        if before is None or before.name not in sums:
            return False
        alone = len(readers[node.input[0]]) == 1 and node.input[0] not in out
        return alone and all(n in values for n in node.input[1:] if n)

    _, joins = functions(model.graph.node, values, able)
    sums = joins | {n.name for n in model.graph.node if n.name in able and n.op_type in (*WEIGHTED, *POOLS)}
    hosts = {n.name for n in model.graph.node if absorbed(n)}
    computed, joins = functions(model.graph.node, values, able - hosts)
    elementwise = {n.name for n in model.graph.node if n.op_type in (*UNARY, *BINARY)}
    able -= elementwise - computed.keys() - joins - hosts
    while True:
        nodes: set[str] = set()
        for node in reversed(model.graph.node):
            feeds = any(r.name in nodes for o in node.output for r in readers.get(o, ()))
            feeds |= with_outputs and any(o in out for o in node.output)
            if feeds and node.name in able | hosts or node.name in able and node.op_type in WEIGHTED:
                nodes.add(node.name)
        made = {o for n in model.graph.node if n.name in nodes for o in n.output if o}
        alone = {n for n in nodes if n in computed and computed[n] not in made}  # their operand stays float
        if not alone:
            break
        able -= alone
    hosted = hosts & nodes
    nodes -= hosted
    computed = {name: source for name, source in computed.items() if name in nodes}
    tensors: dict[str, None] = {}
    groups: list[set[str]] = []
    for node in model.graph.node:
        if node.name in nodes:
            data = [computed[node.name]] if node.name in computed else data_inputs(node, values)
            tensors |= dict.fromkeys(data)
            if node.op_type in REARRANGES:
                groups.append({*data, *filter(None, node.output)})
        if with_outputs:
            tensors |= dict.fromkeys(o for o in node.output if o in out and o in made)
    weighted = [n for n in model.graph.node if n.name in nodes and n.op_type in WEIGHTED]
    return Targets(nodes, weighted, list(tensors), made, groups, computed)


def _rearranges(node: onnx.NodeProto, values) -> bool:
    """Whether a Pad or Resize only copies elements, and zeros."""
    if node.op_type == "Resize":
        return g.attribute(node, "mode", b"nearest") == b"nearest"
    if len(node.input) < 3 or not node.input[2]:
        return True
    return node.input[2] in values and not onnx.numpy_helper.to_array(values[node.input[2]]).any()


def data_inputs(node: onnx.NodeProto, values) -> list[str]:
    """The activations that `node` reads; none if it cannot run on codes."""
    if node.op_type in (*UNARY, *BINARY):
        return operands(node, values) or []
    if node.op_type == "Concat":
        return list(dict.fromkeys(node.input))
    return [node.input[0]] if node.input and node.input[0] else []


@dataclass(frozen=True)
class Grid:
    """Scale and zero point of an activation: 256 codes, one of which is exactly 0."""

    scale: np.float32
    zero: int


def grid(low: float, high: float, symmetric: bool = False) -> Grid:
    """The grid over [low, high], widened to contain zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    minimum = MIN_SCALE if high > low else 1e-12
    if symmetric and low < 0:
        return Grid(np.float32(max(-low / 128, high / 127, minimum)), 128)
    scale = np.float32(max((high - low) / 255, minimum))
    return Grid(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def choose_grids(
    model: onnx.ModelProto,
    targets: Targets,
    seen: Mapping[str, Histogram],
    method: str,
    percentile: float,
    symmetric: bool,
) -> dict[str, Grid]:
    """The grid of each tensor; tensors of one group share the union of their ranges.

    With the method "mse", what counts of a tensor that only functions read are the errors of these functions: what
    hard-swish makes 0 needs no codes.
    """
    points = {name: seen[name].seen for name in set(targets.functions.values())} if method == "mse" else {}
    answers = responses(model, targets.functions, {name: x for name, x in points.items() if len(x)})
    ranges: dict[str, tuple[float, float]] = {}
    for name in targets.tensors:
        h = seen[name]
        if method == "mse":
            ranges[name] = h.mse(symmetric=symmetric, functions=answers.get(name, ()))
        elif method == "entropy":
            ranges[name] = h.entropy(symmetric=symmetric)
        else:
            ranges[name] = h.minmax() if method == "minmax" else h.percentile(percentile)
    changed = True
    while changed:
        changed = False
        for group in targets.groups:
            known = [n for n in group if n in ranges]
            widest = (min(ranges[n][0] for n in known), max(ranges[n][1] for n in known))
            changed |= any(ranges[n] != widest for n in known)
            ranges |= dict.fromkeys(known, widest)
    return {name: grid(*r, symmetric) for name, r in ranges.items()}
