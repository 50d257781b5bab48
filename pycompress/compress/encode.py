"""Writes a quantization into a model: int8 or int4 weights, biases, QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..rounding import round_groups, round_weights
from ..weights import Q4
from . import graph as g
from .choose import Choice, Grid
from .patches import Patches

LARGEST_BIAS = 2.0**30
PAIRS = 7  # of taps in a window of a depthwise convolution: the widest costs nothing worth mentioning


@dataclass(frozen=True, eq=False)
class Layer:
    """The weights of a node as one matrix, with what they meet.

    Attributes
    ----------
    w : float64[n,k], k runs over `segments` kernel cells, then channels
    bias : float64[n] or None
    groups : of channels; n holds them one after the other
    kernel : (kh, kw) of a depthwise convolution, else None
    x : the grid of the input
    correct : whether the mean error of the rounded weights goes into the bias
    """

    node: onnx.NodeProto
    w: np.ndarray
    segments: int
    groups: int
    kernel: tuple[int, int] | None
    bias: np.ndarray | None
    x: Grid
    met: Patches
    correct: bool

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return [self.node]

    @cached_property
    def covariance(self) -> np.ndarray:
        return self.met.covariance(about_zero=not self.correct)

    def error(self, off: np.ndarray) -> tuple[float, np.ndarray | None]:
        """What errors [n,k] of the weights do to the outputs: expected square, summed; and mean [n], if that is corrected."""
        off = off.reshape(self.groups, -1, self.w.shape[1])
        small, c = off.astype(np.float32), self.covariance
        square = float(np.einsum("gnk,gnk->", small @ c if c.ndim == 3 else small * c[:, None], small))
        return square, np.einsum("gnk,gk->gn", off, self.met.mean).ravel() if self.correct else None


@dataclass(frozen=True, eq=False)
class Rounded:
    """int8 weights [n,k] with a scale for each row, the bias [n] that goes with them, and what is proven.

    Attributes
    ----------
    T : steps per window (kernels/qgemm.py), or pairs of taps of a depthwise convolution; 0: nothing is proven
    error : the expected squared error of the outputs, about the mean where that is corrected, summed over channels
    """

    q: np.ndarray
    scale: np.ndarray
    bias: np.ndarray | None
    T: int
    error: float

    def dense(self) -> np.ndarray:
        """The weights they stand for, float64[n,k]."""
        return self.q * self.scale.astype(float)[:, None]


@dataclass(frozen=True, eq=False)
class Grouped:
    """4-bit weights, and the bias [n] that goes with them."""

    weights: Q4
    bias: np.ndarray | None

    def dense(self) -> np.ndarray:
        """The weights they stand for, float32[n,k]."""
        return self.weights.dense()


def read_layer(model: onnx.ModelProto, node: onnx.NodeProto, x: Grid, met: Patches, correct: bool) -> Layer:
    """`node`, whose input has grid `x`; `correct`: its bias may take up the mean error."""
    w, segments, groups = matrix(model, node)
    dims = g.constants(model)[node.input[1]].dims
    kernel = (int(np.prod(dims[2:-1])), dims[-1]) if w.shape[1] == segments and groups > 1 else None  # depthwise
    bias = bias_of(model, node, len(w))
    return Layer(node, w, segments, groups, kernel, bias, x, met, correct and node.op_type != "MatMul")


def round_layer(layer: Layer, T: int) -> Rounded:
    """`layer` with weights proven for windows of `T` steps, or of `PAIRS` pairs of taps where it is depthwise."""
    w, bias, groups = layer.w, layer.bias, layer.groups
    covariance = layer.covariance
    least = np.zeros(len(w)) if bias is None else np.abs(bias) / (float(layer.x.scale) * LARGEST_BIAS)
    if layer.kernel:
        T = PAIRS if T else 0
        each = np.repeat(covariance, len(w) // groups, 0) if covariance.ndim == 3 else None
        q, scale = round_weights(w, T, layer.segments, each, least, layer.kernel)
    else:
        q, scale = np.zeros(w.shape, np.int8), np.zeros(len(w), np.float32)
        for rows, c in zip(np.split(np.arange(len(w)), groups), covariance):
            q[rows], scale[rows] = round_weights(w[rows], T, layer.segments, c, least[rows])
    error, shift = layer.error(q * scale.astype(float)[:, None] - w)
    return Rounded(q, scale, _less(bias, shift), T, error)


def nearest4(layer: Layer, group: int, symmetric: bool) -> Grouped:
    """`layer` with weights of 4 bits, each rounded by itself."""
    q = round_groups(layer.w, group, symmetric)
    return Grouped(q, _less(layer.bias, layer.error(q.dense() - layer.w)[1]))


def _less(bias: np.ndarray | None, shift: np.ndarray | None) -> np.ndarray | None:
    if shift is None:
        return bias
    return -shift if bias is None else bias - shift


def write_layer(model: onnx.ModelProto, layer: Layer, rounded: Rounded | Grouped) -> None:
    """Gives the layer's node int8 weights and an int32 bias, behind DequantizeLinear nodes; or int4 weights and a float bias."""
    node, bias = layer.node, rounded.bias
    names, shape = g.Names(model), g.constants(model)[node.input[1]].dims
    if isinstance(rounded, Grouped):
        nodes = _in_groups(model, names, node, shape, rounded.weights)
    else:
        codes, axis = unmatrix(rounded.q, node, shape)
        nodes = [_dequantized(model, names, f"{node.name}.weight", codes, rounded.scale, axis)]
    inputs = [node.input[0], nodes[-1].output[0]]
    if bias is not None and isinstance(rounded, Grouped):  # groups have no scale of the product in common
        inputs.append(g.add_constant(model, names.fresh(f"{node.name}.bias.f32"), bias.astype(np.float32)))
    elif bias is not None:
        step = layer.x.scale * rounded.scale
        whole = np.clip(np.rint(bias / step.astype(float)), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        nodes.append(_dequantized(model, names, f"{node.name}.bias", whole, step, 0))
        inputs.append(nodes[-1].output[0])
    node.input[:] = inputs
    for a in node.attribute:  # folded into weights and bias
        if node.op_type == "Gemm" and a.name in ("alpha", "beta"):
            a.f = 1.0
    at = next(i for i, n in enumerate(model.graph.node) if n.name == node.name)
    for extra in reversed(nodes):
        model.graph.node.insert(at, extra)


def matrix(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[np.ndarray, int, int]:
    """The weights of `node` as (float64[n,k], segments, groups): k runs over kernel cells, then channels."""
    w = numpy_helper.to_array(g.constants(model)[node.input[1]]).astype(float)
    if not np.isfinite(w).all():
        raise ValueError(f"node {node.name!r}: its weights are not finite")
    if node.op_type == "Conv":
        cells = int(np.prod(w.shape[2:]))
        w = w.reshape(w.shape[0], w.shape[1], cells).transpose(0, 2, 1)
        return w.reshape(len(w), -1), cells, g.attribute(node, "group", 1)
    if node.op_type == "Gemm":
        w = w * g.attribute(node, "alpha", 1.0)
        return (w if g.attribute(node, "transB", 0) else w.T), 1, 1
    return w.T, 1, 1


def unmatrix(q: np.ndarray, node: onnx.NodeProto, shape: Sequence[int]) -> tuple[np.ndarray, int]:
    """Codes or weights [n,k] in the shape that `node` has them in, and the axis of the output channel."""
    if node.op_type == "Conv":
        shape = tuple(shape)
        return q.reshape(shape[0], -1, shape[1]).transpose(0, 2, 1).reshape(shape), 0
    if node.op_type == "Gemm" and g.attribute(node, "transB", 0):
        return q, 0
    return q.T, 1


def bias_of(model: onnx.ModelProto, node: onnx.NodeProto, n: int) -> np.ndarray | None:
    """The constant bias of `node`, float64[n]."""
    if len(node.input) < 3 or not node.input[2]:
        return None
    bias = numpy_helper.to_array(g.constants(model)[node.input[2]]).astype(float)
    bias = np.broadcast_to(bias.reshape(-1), n) * (g.attribute(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0)
    if not np.isfinite(bias).all():
        raise ValueError(f"node {node.name!r}: its bias is not finite")
    return bias


def _dequantized(model, names: g.Names, stem: str, codes: np.ndarray, scale: np.ndarray, axis: int) -> onnx.NodeProto:
    kind = {np.dtype(np.int8): "i8", np.dtype(np.int32): "i32"}[codes.dtype]
    inputs = [
        g.add_constant(model, names.fresh(f"{stem}.{kind}"), codes),
        g.add_constant(model, names.fresh(f"{stem}.scale"), scale.astype(np.float32)),
        g.add_constant(model, names.fresh(f"{stem}.zero_point"), np.zeros(len(scale), codes.dtype)),
    ]
    output, name = names.fresh(f"{stem}.dequantized"), names.fresh(f"{stem}.dequantize")
    return helper.make_node("DequantizeLinear", inputs, [output], name=name, axis=axis)


def _in_groups(model, names: g.Names, node: onnx.NodeProto, shape: Sequence[int], q: Q4) -> list[onnx.NodeProto]:
    """The nodes that make float weights of 4-bit codes.

    float16 scales are widened before they meet the codes: each product is exact then.
    """
    stem, (n, groups) = f"{node.name}.weight", q.scale.shape
    codes, axis = unmatrix(q.w, node, shape)

    def laid(x: np.ndarray) -> np.ndarray:
        return unmatrix(x, node, (n, groups, *shape[2:]))[0] if groups > 1 else x[:, 0]

    half = q.scale.astype(np.float16)
    exact = np.array_equal(half.astype(np.float32), q.scale)
    inputs = ["", g.add_constant(model, names.fresh(f"{stem}.scale"), laid(half if exact else q.scale))]
    nodes = []
    if exact:
        wide = names.fresh(f"{stem}.scale.f32")
        nodes.append(
            helper.make_node("Cast", inputs[1:], [wide], names.fresh(f"{stem}.widen"), to=onnx.TensorProto.FLOAT)
        )
        inputs[1] = wide
    if (q.zero == 8).all():
        inputs[0] = _nibbles(model, names.fresh(f"{stem}.i4"), codes ^ 8, onnx.TensorProto.INT4)
    else:
        inputs[0] = _nibbles(model, names.fresh(f"{stem}.u4"), codes, onnx.TensorProto.UINT4)
        inputs.append(_nibbles(model, names.fresh(f"{stem}.zero_point"), laid(q.zero), onnx.TensorProto.UINT4))
    along = {"axis": 1 - axis, "block_size": q.group} if groups > 1 else {"axis": axis}
    output, name = names.fresh(f"{stem}.dequantized"), names.fresh(f"{stem}.dequantize")
    return [*nodes, helper.make_node("DequantizeLinear", inputs, [output], name, **along)]


def _nibbles(model: onnx.ModelProto, name: str, codes: np.ndarray, kind: int) -> str:
    """Adds an initializer of 4-bit codes, two in a byte; returns its name.  Less 8 is the same as ^ 8 in four bits."""
    flat = codes.ravel()
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8)).reshape(-1, 2)
    raw = (flat[:, 0] | flat[:, 1] << 4).astype(np.uint8).tobytes()
    model.graph.initializer.append(onnx.TensorProto(name=name, data_type=kind, dims=codes.shape, raw_data=raw))
    return name


def insert_pairs(model: onnx.ModelProto, plan: Choice, grids: Mapping[str, Grid], with_outputs: bool) -> None:
    """Puts QuantizeLinear and DequantizeLinear behind each tensor that has a grid, and moves its readers behind them.

    Nodes that stay float read the rounded values too, unless a node that stays float computed them.
    """
    names, out, readers = g.Names(model), g.outputs(model), g.consumers(model)
    makers = g.producers(model)
    pairs: dict[str, list[onnx.NodeProto]] = {}
    for name, grid in grids.items():
        scale = g.add_constant(model, names.fresh(f"{name}.scale"), np.array(grid.scale, np.float32))
        zero = g.add_constant(model, names.fresh(f"{name}.zero_point"), np.array(grid.zero, np.uint8))
        code = names.fresh(f"{name}.u8")
        if with_outputs and name in out and name in plan.made:
            source, back = names.fresh(f"{name}.exact"), name
            outputs = makers[name].output
            outputs[list(outputs).index(name)] = source
        else:
            source, back = name, names.fresh(f"{name}.dequantized")
            for node in readers.get(name, ()):
                if name in plan.made or node.name in plan.nodes:
                    g.rename_input(node, name, back)
        pairs[source] = [
            helper.make_node("QuantizeLinear", [source, scale, zero], [code], names.fresh(f"{name}.quantize")),
            helper.make_node("DequantizeLinear", [code, scale, zero], [back], names.fresh(f"{name}.dequantize")),
        ]
    nodes = [n for i in model.graph.input for n in pairs.get(i.name, ())]
    for node in model.graph.node:
        nodes += [node, *(n for o in node.output for n in pairs.get(o, ()))]
    g.set_nodes(model, nodes)
