"""Finds the weights that passes may change, reads them as matrices, and writes them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto

from ...errors import ModelError
from . import graph as g
from .matrix import bias_of, matrix, unmatrix
from .prepare import prepare, quantized_node

if TYPE_CHECKING:  # calibration and quantization fill in what they find
    from ..calibration.moments import Moments
    from ..quantization.targets import Grid

WEIGHTED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class Layer:
    """The weights of a node, or of several nodes that share one tensor, as one matrix.

    Attributes
    ----------
    w : float64[n,k], k runs over `segments` kernel cells, then channels
    bias : float64[n] of the first node, or None
    groups : number of channel groups; n contains them one after the other
    kernel : (kh, kw) of a depthwise convolution, else None
    correct : whether the bias may absorb the mean error of the outputs
    x : the grid of the input, if it is quantized
    moments : the moments of the inputs, if there is calibration
    members : where several nodes with common weights are rounded together: the layer of each
    uses : how many nodes have these weights
    """

    nodes: list[onnx.NodeProto]
    w: np.ndarray
    segments: int
    bias: np.ndarray | None
    groups: int = 1
    kernel: tuple[int, int] | None = None
    correct: bool = True
    x: Grid | None = None
    moments: Moments | None = None
    members: tuple[Layer, ...] = ()
    uses: int = 1

    @property
    def node(self) -> onnx.NodeProto:
        return self.nodes[0]

    @property
    def name(self) -> str:
        return self.nodes[0].name

    @cached_property
    def covariance(self) -> np.ndarray:
        """The covariance of the inputs; about zero if the bias may not absorb the mean."""
        return self.moments.covariance(about_zero=not self.correct)

    @cached_property
    def w32(self) -> np.ndarray:
        """`w` as float32."""
        return self.w.astype(np.float32)

    def error(self, off: np.ndarray) -> float:
        """The expected squared error of the outputs for weight errors [n,k], about the mean if that is corrected, summed."""
        off, c = off.reshape(self.groups, -1, self.w.shape[1]).astype(np.float32, copy=False), self.covariance
        return float(np.vdot(off @ c if c.ndim == 3 else off * c[:, None], off))

    def shift(self, off: np.ndarray) -> np.ndarray | None:
        """The mean error [n] of the outputs for weight errors [n,k]; None if the bias may not absorb it."""
        if not self.correct:
            return None
        return np.einsum("gnk,gk->gn", off.reshape(self.groups, -1, self.w.shape[1]), self.moments.mean).ravel()


def read_layer(model: onnx.ModelProto, *nodes: onnx.NodeProto, correct: bool = True, **seen) -> Layer:
    """The layer of `nodes`; `seen` are attributes of `Layer` that come from calibration."""
    node = nodes[0]
    w, segments, groups = matrix(model, node)
    dims = g.constants(model)[node.input[1]].dims
    kernel = (int(np.prod(dims[2:-1])), dims[-1]) if w.shape[1] == segments and groups > 1 else None  # depthwise
    bias = bias_of(model, node, len(w))
    return Layer(list(nodes), w, segments, bias, groups, kernel, correct and node.op_type != "MatMul", **seen)


def float_model(model: onnx.ModelProto, verb: str = "prune") -> onnx.ModelProto:
    """Prepares `model`, in place, for changing weights: makes them initializers, folds batch norm; refuses quantized models."""
    if (node := quantized_node(model)) is not None:
        where = f"node {node.name or node.output[0]!r} ({node.op_type})"
        raise ModelError(f"{where}: the model is quantized already; {verb} it before")
    return prepare(model)


def find_layers(
    model: onnx.ModelProto,
    exclude: Iterable[str] | None,
    sparsity: float | dict[str, float],
    blocked: Mapping[str, str] | None = None,
) -> tuple[list[Layer], dict[str, str]]:
    """The layers to prune, in order, and by name why others with weights are left alone.

    `blocked`: nodes that cannot be calibrated, and why.
    """
    nodes = {n.name: n for n in model.graph.node}
    exclude = g.excluded(exclude)
    named = set(sparsity) if isinstance(sparsity, dict) else set()
    for what, names in (("exclude", set(exclude or ())), ("sparsity", named)):
        if unknown := names - set(nodes):
            raise ValueError(f"{what}: the model has no node {min(unknown)!r}")
    values, readers = g.constants(model), g.consumers(model)
    weighted = weighted_nodes(model)
    why = {n.name: said for n in weighted if (said := unable(n, values) or (blocked or {}).get(n.name))}
    able = [n for n in weighted if n.name not in why]
    if exclude is not None:
        why |= {name: "asked for" for name in exclude}
    else:
        first, last = g.ends(model, {n.name for n in weighted})
        why |= {n: said for n, said in [*last.items(), *first.items()] if n not in why and n not in named}
    why |= computed_weights(model)
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
        layers.append(read_layer(model, *alike))
    if not layers:
        said = "; ".join(f"{name!r}: {reason}" for name, reason in why.items())
        raise ModelError(f"nothing to prune: {said or 'the model has no Conv, Gemm or MatMul with constant weights'}")
    return layers, why


def weighted_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The Conv, Gemm and MatMul with constant weights, in order."""
    values = g.constants(model)
    nodes = [n for n in model.graph.node if n.op_type in WEIGHTED and n.domain in ("", "ai.onnx")]
    return [n for n in nodes if len(n.input) > 1 and n.input[1] in values]


def computed_weights(model: onnx.ModelProto) -> dict[str, str]:
    """The convolutions and Gemms whose weights are not constant, with the reason to report."""
    values = g.constants(model)
    nodes = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm") and n.domain in ("", "ai.onnx")]
    return {n.name: "its weights are computed when it runs" for n in nodes if n.input[1] not in values}


def unable(node: onnx.NodeProto, values) -> str | None:
    """Why the weights of a node cannot be changed as one matrix, or None."""
    if node.op_type == "Conv" and g.attribute(node, "group", 1) > 1:
        return "depthwise" if values[node.input[1]].dims[1] == 1 else "grouped"
    return None if has_constant_weights(node, values) else "not plain float32 weights"


def _use(node: onnx.NodeProto) -> tuple:
    return node.op_type, g.attribute(node, "transB", 0), g.attribute(node, "alpha", 1.0)


def write(model: onnx.ModelProto, layer: Layer, w: np.ndarray, bias: np.ndarray | None = None) -> None:
    """Sets the weights of the layer's nodes to `w` [n,k], and their bias to `bias` [n] if it is given."""
    node, values, names = layer.node, g.constants(model), g.Names(model)
    tensor = values[node.input[1]]
    value, _ = unmatrix(_narrowed(w, node) + np.float32(0), node, tensor.dims)  # no negative zeros
    own = g.consumers(model)[node.input[1]]
    if len(own) > len(layer.nodes) or node.input[1] in g.outputs(model):
        node.input[1] = g.add_constant(model, names.fresh(f"{node.name}.pruned_weight"), value)
    else:
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    if bias is not None:
        name = g.add_constant(model, names.fresh(f"{node.name}.pruned_bias"), _narrowed(bias, node))
        for each in layer.nodes:
            each.input[:] = [*each.input[:2], name]
    for each in layer.nodes:
        for a in each.attribute:
            if each.op_type == "Gemm" and (a.name == "alpha" or a.name == "beta" and bias is not None):
                a.f = 1.0  # `matrix` and `bias_of` have applied it


def _narrowed(x: np.ndarray, node: onnx.NodeProto) -> np.ndarray:
    """`x` as float32; refused if it is not finite."""
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ModelError(f"node {node.name!r}: its re-fitted weights would not be finite")
    return x


def has_constant_weights(node: onnx.NodeProto, values) -> bool:
    """Whether `node` is a product with float32 constants as weights and bias (if any)."""
    rest = [n for n in node.input[1:] if n]
    if not rest or any(n not in values or values[n].data_type != TensorProto.FLOAT for n in rest):
        return False
    dims = [list(values[n].dims) for n in rest]
    if node.op_type == "Gemm":
        n = dims[0][0 if g.attribute(node, "transB", 0) else 1]
        return (len(dims) == 1 or is_row(dims[1], n)) and not g.attribute(node, "transA", 0)
    return node.op_type != "MatMul" or len(dims[0]) == 2


def is_row(dims: list[int], n: int) -> bool:
    """Whether a Gemm's C of these dimensions is one bias per column, for `n` columns, or one for all."""
    return int(np.prod(dims)) == 1 or dims in ([n], [1, n])
