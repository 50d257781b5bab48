"""Finds the nodes that compute a function of one tensor, element by element.

On codes such a function is a table, however many nodes compute it: x * clip(x + 3, 0, 6) / 6 is one. So the tensors
between its nodes are not rounded; only what it is a function of, and its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..calibration.engine import runner
from ..model import graph as g

UNARY = (
    "Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu", "Softplus", "Gelu", "Swish",
    "Erf", "Mish", "Softsign", "Selu", "Celu", "ThresholdedRelu", "Abs", "Neg",
)  # fmt: skip
JOINS = ("Add", "Sub", "Mul")  # of two tensors, too, on codes
BINARY = (*JOINS, "Div", "Max", "Min", "PRelu")
CONSTANT_SECOND = ("Div", "PRelu")  # what must be their second operand


def is_row(tensor: onnx.TensorProto) -> bool:
    """Whether a constant has at most one dimension longer than 1: one value for all, or one per channel."""
    return sum(d != 1 for d in tensor.dims) <= 1 and 0 not in tensor.dims


def operands(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> list[str] | None:
    """The activations that an elementwise node reads; None if its constants are none that a table can hold."""
    names = [n for n in node.input if n]
    if node.op_type in UNARY:
        return names[:1] if all(n in values for n in names[1:]) else None
    if len(names) != 2 or node.op_type in CONSTANT_SECOND and (names[1] not in values or names[0] in values):
        return None
    data = [n for n in names if n not in values]
    return list(dict.fromkeys(data)) if all(is_row(values[n]) for n in names if n in values) else None


def functions(
    nodes: Iterable[onnx.NodeProto], values: Mapping[str, onnx.TensorProto], able: set[str]
) -> tuple[dict[str, str], set[str]]:
    """({node: the tensor that its result is a function of}, the elementwise nodes that join several tensors).

    Of the nodes named in `able`. One in neither joins tensors in a way that there is no integer kernel for.
    """
    source: dict[str, str] = {}  # by tensor
    found: dict[str, str] = {}
    joins = set()
    for node in nodes:
        if node.name not in able or node.op_type not in (*UNARY, *BINARY):
            continue
        data = operands(node, values)
        of = {source.get(n, n) for n in data or ()}
        if len(of) == 1:
            source[node.output[0]] = found[node.name] = of.pop()
        elif of and node.op_type in JOINS:
            joins.add(node.name)
    return found, joins


def responses(
    model: onnx.ModelProto, found: Mapping[str, str], points: Mapping[str, np.ndarray]
) -> dict[str, list[np.ndarray]]:
    """By tensor that only nodes of `found` read: their results at `points` of it, float32, one array for each.

    Slopes of PRelu are replaced by their root mean square. Functions with other constants per channel are left out.
    """
    readers, values = g.consumers(model), g.constants(model)
    varied = {found[n.name] for n in model.graph.node if n.name in found and _varies(n, values)}
    sources = {s for s in found.values() if s in points and all(found.get(r.name) == s for r in readers[s])} - varied
    nodes = [n for n in model.graph.node if found.get(n.name) in sources]
    results = {n.output[0]: found[n.name] for n in nodes
               if any(r.name not in found for r in readers.get(n.output[0], ()))}  # fmt: skip
    if not results:
        return {}
    constants = [_one(values[name]) for name in dict.fromkeys(n for k in nodes for n in k.input if n in values)]
    infos = [helper.make_tensor_value_info(s, TensorProto.FLOAT, points[s].shape) for s in sorted(sources)]
    answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    graph = helper.make_graph(nodes, "functions", infos, answers, constants)
    small = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    made = runner(small)(list(results), {s: points[s].astype(np.float32) for s in sorted(sources)})
    told: dict[str, list[np.ndarray]] = {}
    for source, y in zip(results.values(), made):
        if y.size == points[source].size and np.isfinite(y).all():
            told.setdefault(source, []).append(y.reshape(-1))
    return told


def _varies(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether `node`, unless it is a PRelu, has different constants for different channels."""
    return node.op_type != "PRelu" and any(np.prod(values[n].dims) > 1 for n in node.input if n in values)


def _one(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """A constant of one value, or the root mean square of several slopes, as one value."""
    x = numpy_helper.to_array(tensor)
    x = x.reshape(x.shape[:1]) if x.size == 1 else np.full(1, np.sqrt(np.square(x, dtype=float).mean()), x.dtype)
    return numpy_helper.from_array(x, tensor.name)
