"""Writes products whose activations are quantized when they are computed, from their own extremes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..model import graph as g
from ..model.layers import Layer
from .round import Rounded

OPERATORS = ("MatMul", "Gemm")  # of these the operators on integers are computed everywhere


def write_dynamic(
    model: onnx.ModelProto, layer: Layer, rounded: Rounded, written: dict[tuple, tuple[str, str]]
) -> None:
    """Replaces the layer's MatMul or Gemm by DynamicQuantizeLinear, MatMulInteger, and the scaling of its result.

    Layers that read one tensor share its DynamicQuantizeLinear. `written`: codes and scales that earlier layers got; one with
    the same codes reads them.
    """
    node, names, readers = layer.node, g.Names(model), g.consumers(model)
    x, stem = node.input[0], node.name
    nodes = []
    shared = next((n for n in readers[x] if n.op_type == "DynamicQuantizeLinear"), None)
    if shared is None:
        outs = [names.fresh(f"{x}.{part}") for part in ("u8", "scale", "zero_point")]
        shared = helper.make_node("DynamicQuantizeLinear", [x], outs, names.fresh(f"{x}.quantize"))
        nodes.append(shared)
    codes, scale, zero = shared.output
    key = node.input[1], id(rounded.q)
    if key not in written:
        weight = g.add_constant(model, names.fresh(f"{stem}.weight.i8"), np.ascontiguousarray(rounded.q.T))
        step = g.add_constant(model, names.fresh(f"{stem}.weight.scale"), rounded.scale.astype(np.float32))
        written[key] = weight, step
    weight, step = written[key]
    t = [names.fresh(f"{stem}.{part}") for part in ("i32", "f32", "step", "scaled")]
    last = node.output[0]
    nodes += [
        helper.make_node("MatMulInteger", [codes, weight, zero], [t[0]], stem),
        helper.make_node("Cast", [t[0]], [t[1]], names.fresh(f"{stem}.cast"), to=TensorProto.FLOAT),
        helper.make_node("Mul", [scale, step], [t[2]], names.fresh(f"{stem}.steps")),
        helper.make_node("Mul", [t[1], t[2]], [last if rounded.bias is None else t[3]], names.fresh(f"{stem}.scale")),
    ]
    if rounded.bias is not None:
        bias = g.add_constant(model, names.fresh(f"{stem}.bias.f32"), rounded.bias.astype(np.float32))
        nodes.append(helper.make_node("Add", [t[3], bias], [last], names.fresh(f"{stem}.add")))
    at = next(i for i, n in enumerate(model.graph.node) if n.name == node.name)
    del model.graph.node[at]
    for extra in reversed(nodes):
        model.graph.node.insert(at, extra)
