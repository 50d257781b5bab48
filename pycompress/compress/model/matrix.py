"""Converts the weights of a node to one matrix and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from . import graph as g


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
    """(codes or weights [n,k] in the shape that `node` uses, the axis of the output channels)."""
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
