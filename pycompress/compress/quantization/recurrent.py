"""LSTMs with int8 weights whose states are quantized in every step, over their own range: com.microsoft's DynamicQuantizeLSTM."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...errors import ModelError
from ...rounding import round_weights
from ..model import graph as g

DOMAIN = "com.microsoft"


def lstms(model: onnx.ModelProto, exclude: Collection[str] = ()) -> tuple[list[onnx.NodeProto], dict[str, str]]:
    """(the LSTMs of `model` that can have int8 weights, why others cannot, by name); without those in `exclude`."""
    values, readers, out, able, why = g.constants(model), g.consumers(model), g.outputs(model), [], {}
    for node in model.graph.node:
        if node.op_type != "LSTM" or node.domain not in ("", "ai.onnx") or node.name in exclude:
            continue
        weights = [values.get(n) for n in node.input[1:3]]
        if any(w is None or w.data_type != TensorProto.FLOAT or len(w.dims) != 3 for w in weights):
            why[node.name] = "its weights are not constant float32"
        elif any(n in out or any(r.op_type != "LSTM" for r in readers[n]) for n in node.input[1:3]):
            why[node.name] = "others read its weights, too"
        elif g.attribute(node, "layout", 0):
            why[node.name] = "its batch comes before time"
        else:
            able.append(node)
    return able, why


def write_lstm(
    model: onnx.ModelProto, node: onnx.NodeProto, written: dict[tuple[str, str], tuple[str, str, str]]
) -> None:
    """Turns the LSTM `node` into a DynamicQuantizeLSTM with a scale per column.

    `written`: codes, scale and zero point that earlier nodes got; one with the same weights reads them.
    """
    values, names = g.constants(model), g.Names(model)
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    for at, letter in ((1, "W"), (2, "R")):
        key = (letter, node.input[at])
        if key not in written:
            w = numpy_helper.to_array(values[node.input[at]])
            if not np.isfinite(w).all():
                raise ModelError(f"node {node.name!r} (LSTM): its weights {node.input[at]!r} are not finite")
            d, n, k = w.shape
            q, scale = round_weights(w.reshape(d * n, k), 0)
            arrays = (
                np.ascontiguousarray(q.reshape(d, n, k).transpose(0, 2, 1)),
                scale.reshape(d, n),
                np.zeros((d, n), np.int8),
            )
            stems = [f"{node.name}.{letter}.{part}" for part in ("i8", "scale", "zero_point")]
            written[key] = tuple(g.add_constant(model, names.fresh(s), x) for s, x in zip(stems, arrays))
        inputs[at] = written[key][0]
        inputs += written[key][1:]
    node.op_type, node.domain = "DynamicQuantizeLSTM", DOMAIN
    node.input[:] = inputs
    kept = [a for a in node.attribute if a.name not in ("layout", "output_sequence")]
    del node.attribute[:]
    node.attribute.extend(kept)
    if not any(o.domain == DOMAIN for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
