"""prune: ONNX in, the same network with zeros among its weights out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ..errors import ModelError
from . import graph as g
from .blas import one_blas_thread
from .calibrate import observe
from .choose import WEIGHTED, has_constant_weights
from .encode import bias_of, matrix, unmatrix
from .masks import Pattern, choose, parse
from .quantize import prepare
from .reconstruct import damped, importance, refit

METADATA = "pycompress.prune"
SCOPES = ("global", "layer")


@one_blas_thread
def prune(
    model: g.Model,
    sparsity: float | Mapping[str, float] | None,
    *,
    scope: str = "global",
    pattern: str = "unstructured",
    exclude: Iterable[str] | None = None,
    calibration: Iterable | None = None,
    reconstruct: bool | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Callable[[int], None] | None = None,
) -> onnx.ModelProto:
    """`model` with the least important weights of its convolutions and matrix products set to zero.

    Importance is the magnitude (Han et al., 2015), or, with `calibration`, what the layer's outputs lose (`reconstruct`
    module), and then the weights that stay are fitted anew. What is pruned are Conv without groups, Gemm and
    MatMul with constant weights; batch norm is folded first. The result is an ordinary ONNX model
    with the same inputs and outputs, no smaller than before. Which layers were pruned how far, and which
    were left alone and why, stands in its metadata, "pycompress.prune".

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed.
    sparsity : float or {node name: float}
        The share of the weights to remove, in [0, 1): of all those layers together, or, as a dict, of
        each layer it names; the others are left alone. None for a `pattern` N:M, which says it itself.
    scope : {"global", "layer"}
        One threshold for all layers, or the same share of each.
    pattern : {"unstructured", "1x4", "4x1", "16x1", "N:M", "channel"}
        What goes together. "1x4": four consecutive input channels of one output and kernel cell; "4x1" and
        "16x1": that many consecutive outputs at one input; such blocks are ranked by their norm. "2:4",
        "4:16": at most N of M consecutive input channels stay. "channel": see `channels.prune_channels`.
    exclude : iterable of str, optional
        Names of nodes to leave alone. By default the first convolutions and the classifier (what no
        other weights come before or after), unless `sparsity` names them. Convolutions with groups are
        always left alone.
    calibration : iterable of {input name: array}, optional
        As for ``pycompress.quantize``. Importance is then that of Wanda or, with `reconstruct`, of OBS, as a share of
        the power of each layer's outputs; biases take up the mean error.
    reconstruct : bool, optional
        Fit the weights that stay to the layer's outputs by least squares, on the calibration's inputs; by default
        if there is a calibration.
    base_dir : path, optional
        Where tensors stored outside the file lie; without it such models are refused.
    progress : callable, optional
        Called with the number of samples seen.

    Raises
    ------
    ValueError
        An argument is out of range or names what is not there. `ModelError`, a ValueError, where the model is at
        fault: also where it is quantized already or has nothing to prune.
    """
    if pattern == "channel":
        from .channels import prune_channels

        return prune_channels(model, sparsity, scope=scope, exclude=exclude, calibration=calibration, base_dir=base_dir)
    shape = parse(pattern)
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}")
    sparsity = _checked(sparsity, shape)
    model = float_model(model, base_dir)
    layers, left = find_layers(model, exclude, sparsity)
    ratios = [sparsity[x.name] for x in layers] if isinstance(sparsity, dict) else [sparsity] * len(layers)
    if reconstruct is None:
        reconstruct = calibration is not None
    if reconstruct and calibration is None:
        raise ValueError("reconstruct needs calibration")
    one = scope == "global" and not isinstance(sparsity, dict)
    met = _covariances(model, layers, calibration, progress) if calibration is not None else [None] * len(layers)
    squares = [
        np.square(layer.w) if m is None else importance(layer.w, m.c, shape, layer.segments, reconstruct)
        for layer, m in zip(layers, met)
    ]
    masks = choose(squares, [x.segments for x in layers], shape, sparsity if one else ratios)
    weights = []
    for layer, mask, m in zip(layers, masks, met):
        w = refit(layer.w, mask, m.c) if reconstruct else np.where(mask, layer.w, 0.0)
        bias = (
            None if m is None or m.mean is None else (layer.w - w) @ m.mean + (0 if layer.bias is None else layer.bias)
        )
        write(model, layer, w, bias)
        weights.append(w)
    note(model, layers, weights, left, shape, scope)
    g.drop_unused(model)
    g.check(model)
    return model


@dataclass(frozen=True, eq=False)
class Met:
    """What a layer's weights meet: their damped covariance [k,k] (or variances [k]), and their mean [k].

    Where the bias can take up the mean error, the covariance is about the mean; else it is about zero, and `mean` None.
    """

    c: np.ndarray
    mean: np.ndarray | None


def _covariances(model, layers: list[Layer], calibration: Iterable, progress) -> list[Met]:
    """What each layer meets when the network runs on the calibration samples."""
    seen = observe(
        model, calibration, list(dict.fromkeys(x.node.input[0] for x in layers)), [x.node for x in layers], progress
    )
    found = []
    for layer in layers:
        patches = seen.patches[layer.name]
        takes = layer.node.op_type != "MatMul" and len(layer.nodes) == 1
        takes &= len(layer.node.input) < 3 or not layer.node.input[2] or layer.bias is not None
        found.append(Met(damped(patches.covariance(about_zero=not takes)[0]), patches.mean[0] if takes else None))
    return found


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


def _ratio(value, where: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < 1:
        raise ValueError(f"sparsity{where} must be in [0, 1), got {value!r}")
    return float(value)


def _checked(sparsity, pattern: Pattern) -> float | dict[str, float]:
    """`sparsity`, which must be what an N:M `pattern` has."""
    own = pattern.sparsity
    if sparsity is None and own is None:
        raise ValueError(f"sparsity: pattern {pattern.name!r} needs one")
    if isinstance(sparsity, Mapping):
        sparsity = {name: _ratio(v, f" of {name!r}") for name, v in sparsity.items()}
    else:
        sparsity = own if sparsity is None else _ratio(sparsity)
    for value in sparsity.values() if isinstance(sparsity, dict) else [sparsity]:
        if own is not None and value and abs(value - own) > 1e-6:
            raise ValueError(f"sparsity: pattern {pattern.name} is {own:g} sparse, got {value:g}; None will do")
    return sparsity


def float_model(model: g.Model, base_dir: str | os.PathLike | None) -> onnx.ModelProto:
    """A copy of `model` ready to be pruned: weights in initializers, batch norm folded; quantized ones are refused."""
    model = g.as_model(model, base_dir)
    for node in model.graph.node:
        if "QLinear" in node.op_type or node.op_type.endswith(("Integer", "QuantizeLinear", "DequantizeLinear")):
            raise ModelError(f"node {node.name or node.output[0]!r}: the model is quantized already; prune it before")
    return prepare(model)


def find_layers(
    model: onnx.ModelProto, exclude: Iterable[str] | None, sparsity: float | dict[str, float]
) -> tuple[list[Layer], dict[str, str]]:
    """The layers to prune, in order, and why the others with weights are left alone."""
    nodes = {n.name: n for n in model.graph.node}
    if isinstance(exclude, str):
        raise ValueError(f"exclude must be names of nodes, got the text {exclude!r}")
    named = set(sparsity) if isinstance(sparsity, dict) else set()
    for what, names in (("exclude", set(exclude or ())), ("sparsity", named)):
        if unknown := names - set(nodes):
            raise ValueError(f"{what}: the model has no node {min(unknown)!r}")
    values, readers = g.constants(model), g.consumers(model)
    weighted = [n for n in model.graph.node if n.op_type in WEIGHTED and _weights(n, values)]
    able = [n for n in weighted if has_constant_weights(n, values) and g.attribute(n, "group", 1) == 1]
    why: dict[str, str] = {}
    for node in weighted:
        if node not in able:
            grouped = node.op_type == "Conv" and g.attribute(node, "group", 1) > 1
            depthwise = grouped and values[node.input[1]].dims[1] == 1
            why[node.name] = "depthwise" if depthwise else "grouped" if grouped else "not plain float32 weights"
    if exclude is not None:
        why |= {name: "asked for" for name in exclude}
    else:
        first, last = _ends(model, {n.name for n in weighted})
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


def _weights(node: onnx.NodeProto, values) -> bool:
    return node.domain in ("", "ai.onnx") and len(node.input) > 1 and node.input[1] in values


def _use(node: onnx.NodeProto) -> tuple:
    return node.op_type, g.attribute(node, "transB", 0), g.attribute(node, "alpha", 1.0)


def _ends(model: onnx.ModelProto, weighted: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Convolutions that no weights come before, and nodes that none come after."""
    first, last = {}, {}
    after: set[str] = set()
    for node in model.graph.node:
        behind = any(name in after for name in g.inputs_of(node))
        if node.name in weighted and node.op_type == "Conv" and not behind:
            first[node.name] = "first convolution"
        if behind or node.name in weighted:
            after |= set(node.output)
    before: set[str] = set()
    for node in reversed(model.graph.node):
        ahead = any(name in before for name in node.output)
        if node.name in weighted and not ahead:
            last[node.name] = "classifier: no weights come after it"
        if ahead or node.name in weighted:
            before |= set(g.inputs_of(node))
    return first, last


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


def note(model: onnx.ModelProto, layers, weights, left: dict[str, str], pattern: Pattern, scope: str, **more) -> None:
    """Writes what was done into the model's metadata."""
    zeros = [int((w == 0).sum()) for w in weights]
    shares = {layer.name: round(z / layer.w.size, 4) for layer, z in zip(layers, zeros)}
    share = round(sum(zeros) / sum(layer.w.size for layer in layers), 4)
    told = {"pattern": pattern.name, "scope": scope, "sparsity": share, "layers": shares, "excluded": left, **more}
    helper.set_model_props(model, g.metadata(model) | {METADATA: json.dumps(told)})
