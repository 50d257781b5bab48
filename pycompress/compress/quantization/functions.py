"""Finds the nodes that compute a function of one tensor, element by element.

On codes such a function is a table, however many nodes compute it: x * clip(x + 3, 0, 6) / 6 is one. So the tensors
between its nodes are not rounded; only what it is a function of, and its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

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
