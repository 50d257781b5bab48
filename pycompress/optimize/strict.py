"""Lists the nodes whose weights are stored compressed but would run as floats."""

from __future__ import annotations

from onnx import TensorProto

from ..formats.onnx_model import NARROW, Model
from ..formats.onnx_structure import name_of
from ..kernels import having
from ..lower.values import Program

FLOAT_KERNELS = having(lambda spec: spec.traits.sums == "float")
WEIGHTED = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "ConvInteger",
    "MatMulInteger",
    "MatMulNBits",
)
BITS = ("uint8", "int8", "int16", "uint16")
CODES = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT16, TensorProto.UINT16, *NARROW)


def uncompressed(program: Program, model: Model) -> list[str]:
    """The names of nodes whose weights are integers in `model` but which `program` runs in float."""
    floats = {step.node for step in program.steps if step.kernel in FLOAT_KERNELS}
    return [name for name in compressed(model) if name in floats]


def compressed(model: Model) -> list[str]:
    """The names of nodes that multiply by constants stored as integers."""
    constant = set(model.constants)
    integers = {n for n, x in model.constants.items() if x.ndim > 1 and x.dtype.name in BITS}
    names = []
    for node in model.graph.node:
        if all(n in constant for n in node.input if n):
            constant.update(node.output)
            stored = node.op_type == "QuantizeLinear" or any(
                a.t.data_type in CODES and len(a.t.dims) > 1 for a in node.attribute
            )
            if stored or any(n in integers for n in node.input):
                integers.update(node.output)
        elif node.op_type in WEIGHTED and any(n in integers for n in node.input):
            names.append(name_of(node))
    return names
