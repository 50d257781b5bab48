"""Writes a quantization into a model: int8 or int4 weights, biases, QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from ...weights import Q4
from ..model import graph as g
from ..model.layers import Layer
from ..model.matrix import unmatrix
from .round import Grouped, Rounded
from .targets import Grid, Targets


def write_layer(
    model: onnx.ModelProto,
    layer: Layer,
    rounded: Rounded | Grouped,
    written: dict[tuple, str] | None = None,
    names: g.Names | None = None,
) -> None:
    """Gives the layer's node int8 weights and an int32 bias with DequantizeLinear, or int4 weights and a float bias.

    The bias of int8 weights is float, too, where the layer's activations are. `written`: the dequantized int8 weights that
    earlier layers got; one with the same codes reads them. `names`: those of the model, where they are known.
    """
    node, bias = layer.node, rounded.bias
    names, shape = names or g.Names(model), g.constants(model)[node.input[1]].dims
    if isinstance(rounded, Grouped):
        nodes = _in_groups(model, names, node, shape, rounded.weights)
    else:
        codes, axis = unmatrix(rounded.q, node, shape)
        key, written = (node.input[1], id(rounded.q)), {} if written is None else written
        nodes = []
        if key not in written:
            nodes.append(_dequantized(model, names, f"{node.name}.weight", codes, rounded.scale, axis))
            written[key] = nodes[-1].output[0]
    inputs = [node.input[0], nodes[-1].output[0] if nodes else written[key]]
    if bias is not None and (isinstance(rounded, Grouped) or layer.x is None):  # groups have different scales
        inputs.append(g.add_constant(model, names.fresh(f"{node.name}.bias.f32"), bias.astype(np.float32)))
    elif bias is not None:
        step = layer.x.scale * rounded.scale
        whole = np.clip(np.rint(bias / step.astype(float)), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        nodes.append(_dequantized(model, names, f"{node.name}.bias", whole, step, 0))
        inputs.append(nodes[-1].output[0])
    node.input[:] = inputs
    for a in node.attribute:  # already folded into weights and bias
        if node.op_type == "Gemm" and a.name in ("alpha", "beta"):
            a.f = 1.0
    at = next(i for i, n in enumerate(model.graph.node) if n.name == node.name)
    for extra in reversed(nodes):
        model.graph.node.insert(at, extra)


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
    """The nodes that dequantize 4-bit weights.

    float16 scales are widened before they are multiplied with the codes, so that each product is exact.
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


def nibbles(name: str, codes: np.ndarray, kind: int) -> onnx.TensorProto:
    """A tensor of 4-bit codes uint8, two in a byte. In 4 bits, - 8 is the same as ^ 8."""
    flat = codes.ravel()
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8)).reshape(-1, 2)
    raw = (flat[:, 0] | flat[:, 1] << 4).astype(np.uint8).tobytes()
    return onnx.TensorProto(name=name, data_type=kind, dims=codes.shape, raw_data=raw)


def _nibbles(model: onnx.ModelProto, name: str, codes: np.ndarray, kind: int) -> str:
    """Adds an initializer of 4-bit codes; returns its name."""
    model.graph.initializer.append(nibbles(name, codes, kind))
    return name


def insert_pairs(model: onnx.ModelProto, targets: Targets, grids: Mapping[str, Grid], with_outputs: bool) -> None:
    """Inserts QuantizeLinear and DequantizeLinear after each tensor that has a grid, and before its readers.

    Nodes that stay float read the rounded values, too, unless a node that stays float made them. A node within a
    function of another tensor reads the value that is not rounded.
    """
    names, out, readers = g.Names(model), g.outputs(model), g.consumers(model)
    makers = g.producers(model)
    pairs: dict[str, list[onnx.NodeProto]] = {}
    for name, grid in grids.items():
        scale = g.add_constant(model, names.fresh(f"{name}.scale"), np.array(grid.scale, np.float32))
        zero = g.add_constant(model, names.fresh(f"{name}.zero_point"), np.array(grid.zero, np.uint8))
        code = names.fresh(f"{name}.u8")
        if with_outputs and name in out and name in targets.made:
            source, back = names.fresh(f"{name}.exact"), name
            outputs = makers[name].output
            outputs[list(outputs).index(name)] = source
        else:
            source, back = name, names.fresh(f"{name}.dequantized")
            for node in readers.get(name, ()):
                inside = targets.functions.get(node.name, name) != name
                if not inside and (name in targets.made or node.name in targets.nodes):
                    g.rename_input(node, name, back)
        pairs[source] = [
            helper.make_node("QuantizeLinear", [source, scale, zero], [code], names.fresh(f"{name}.quantize")),
            helper.make_node("DequantizeLinear", [code, scale, zero], [back], names.fresh(f"{name}.dequantize")),
        ]
    nodes = [n for i in model.graph.input for n in pairs.get(i.name, ())]
    for node in model.graph.node:
        nodes += [node, *(n for o in node.output for n in pairs.get(o, ()))]
    g.set_nodes(model, nodes)
