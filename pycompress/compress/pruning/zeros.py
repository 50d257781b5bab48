"""Finds the zeros among the float or int8 weights of a model, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from ...rounding import SPARSE
from ..model import graph as g
from .masks import found

_WEIGHTS = {  # inputs that are weights and their zero point
    "Conv": (1, None),
    "Gemm": (1, None),
    "MatMul": (1, None),
    "QLinearConv": (3, 5),
    "QLinearMatMul": (3, 5),
    "QGemm": (3, 5),
    "ConvInteger": (1, 3),
    "MatMulInteger": (1, 3),
}


def sparse_layers(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> list[dict]:
    """A row for each node with a share of at least `SPARSE` zeros in its weights; `constants` are the initializers.

    Returns
    -------
    list of {"node", "operator", "outputs", "inputs", "sparsity", "pattern"}
        `inputs` is the number of weights of one output; `pattern` as `prune` calls it.
    """
    made, rows = g.producers(model), []
    for node in model.graph.node:
        at, zero_at = _WEIGHTS.get(node.op_type, (99, None))
        if at >= len(node.input):
            continue
        codes = _constant(node.input[at], made, constants)
        if codes is None or codes.ndim < 2 or codes.ndim > 2 and "Conv" not in node.op_type or not codes.size:
            continue
        if zero_at and zero_at < len(node.input) and node.input[zero_at] in constants:
            zero = np.asarray(constants[node.input[zero_at]]).reshape(-1)
            axis = 0 if "Conv" in node.op_type or g.attribute(node, "transB", 0) else 1
            codes = _less(codes, zero, axis)
        w, segments = _rows(node, codes)
        share = float((w == 0).mean())
        if share >= SPARSE:
            shape = {"outputs": w.shape[0], "inputs": w.shape[1]}
            name = node.name or node.output[0]
            rows.append(
                {"node": name, "operator": node.op_type, **shape, "sparsity": share, "pattern": found(w, segments)}
            )
    return rows


def _constant(name: str, made, constants) -> np.ndarray | None:
    """The constant `name`, or the codes that it is dequantized from, minus their zero point."""
    if name in constants:
        return np.asarray(constants[name])
    node = made.get(name)
    if node is None:
        return None
    if node.op_type == "Constant":
        value = g.attribute(node, "value")
        return None if value is None else onnx.numpy_helper.to_array(value)
    if node.op_type in ("Identity", "QuantizeLinear"):
        return _constant(node.input[0], made, constants)
    if node.op_type != "DequantizeLinear":
        return None
    codes = _constant(node.input[0], made, constants)
    if codes is None or codes.dtype.kind == "f" or len(node.input) < 3:
        return codes
    zero = _constant(node.input[2], made, constants)
    return None if zero is None else _less(codes, zero.reshape(-1), g.attribute(node, "axis", 1))


def _less(codes: np.ndarray, zero: np.ndarray, axis: int) -> np.ndarray:
    if zero.size not in (1, codes.shape[axis]):
        return codes  # a zero point per block is not supported: codes are taken as they are
    shape = [1] * codes.ndim
    shape[axis] = zero.size
    return codes.astype(np.int32) - zero.astype(np.int32).reshape(shape)


def _rows(node: onnx.NodeProto, w: np.ndarray) -> tuple[np.ndarray, int]:
    """The weights as [n,k], and the segments, as in `matrix`."""
    if "Conv" in node.op_type:
        cells = int(np.prod(w.shape[2:]))
        return w.reshape(*w.shape[:2], cells).transpose(0, 2, 1).reshape(len(w), -1), cells
    return (w if g.attribute(node, "transB", 0) else w.T), 1
