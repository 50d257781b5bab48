"""Constant folding of rare operators: small constants go through the reference implementations of onnx."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, helper

from .node import Node

MAX_ELEMENTS = 2**16  # of an input or output: these implementations are loops in Python
OPERATORS = (
    "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Compress", "CumSum",
    "CumProd", "GatherElements", "GatherND", "IsInf", "IsNaN", "MelWeightMatrix", "OneHot", "ReduceL1", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceSumSquare", "ScatterElements", "ScatterND", "TopK", "Unique",
)  # fmt: skip


def referred(node: Node, *inputs) -> list[np.ndarray] | None:
    """The outputs of `node`, one of ``OPERATORS``, for constant inputs; None if they are too large.

    Raises
    ------
    ModelError
        If the values do not fit the operator.
    """
    if _largest(node, inputs) > MAX_ELEMENTS:
        return None
    from onnx.reference import ReferenceEvaluator

    node.ignore(*(a.name for a in node.proto.attribute))
    given = {name: v.data for name, v in zip(node.proto.input, inputs) if name}
    made = [name for name in node.proto.output if name]
    ports = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), None) for n, x in given.items()]
    results = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in made]
    graph = helper.make_graph([node.proto], "g", ports, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
    try:
        found = dict(zip(made, ReferenceEvaluator(model).run(None, given)))
    except Exception as error:  # onnx raises many types when values do not fit
        node.refuse(f"cannot be computed while planning: {error or type(error).__name__}")
    return [np.asarray(found[name]) if name else np.zeros(0, np.bool_) for name in node.proto.output]


def _largest(node: Node, inputs) -> int:
    """The number of elements of the largest input or output, estimated from the inputs; never too few."""
    sizes = [v.size for v in inputs if v is not None]
    if node.op == "OneHot" and len(sizes) > 1 and sizes[1] == 1:
        sizes.append(sizes[0] * max(0, int(inputs[1].data.reshape(()))))
    if node.op == "GatherND" and len(sizes) > 1 and inputs[1].shape:
        sizes.append(math.prod(inputs[1].shape[:-1]) * math.prod(inputs[0].shape[inputs[1].shape[-1] :]))
    return max(sizes, default=0)
