"""Folds multiplications, additions and borders into the convolutions next to them, before a model is quantized.

What is folded is not rounded to 8 bits in between. What cannot be folded, a BatchNormalization that no convolution
precedes, becomes a depthwise convolution of one cell: 8-bit weights with one scale per channel represent it exactly.
Then convolutions of one tensor that are summed become one (`branches.py`).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from . import graph as g
from .branches import merge_branches
from .prepare import drop_nothings
from .turned import sink_transposes

OPS = ("Mul", "Div", "Add", "Sub")


def fold_affine(model: onnx.ModelProto, exclude: set[str] = frozenset()) -> None:
    """Folds what it can, in place; nodes named in `exclude` stay as they are."""
    drop_nothings(model, exclude)
    sink_transposes(model, exclude)
    graph = _Graph(model, exclude)
    for node in list(model.graph.node):
        if node.name in exclude or node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Pad":
            graph.fold_pad(node)
        elif node.op_type == "BatchNormalization":
            graph.as_depthwise(node)
        elif node.op_type == "MatMul":
            graph.as_gemm(node)
        elif node.op_type == "Conv":
            while graph.fold_next(node):
                pass
    g.set_nodes(model, [n for n in model.graph.node if id(n) not in graph.gone])
    g.drop_unused(model)
    merge_branches(model, exclude)


class _Graph:
    """A model, with what its rewriting needs to know."""

    def __init__(self, model: onnx.ModelProto, exclude: set[str]):
        self.model, self.exclude = model, exclude
        self.values, self.readers = g.constants(model), g.consumers(model)
        self.outputs, self.names, self.ranks = g.outputs(model), g.Names(model), g.ranks(model)
        self.gone: set[int] = set()  # ids of removed nodes

    def constant(self, name: str) -> np.ndarray | None:
        """A float32 constant; None for any other tensor."""
        tensor = self.values.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
            return None
        return numpy_helper.to_array(tensor)

    def add(self, stem: str, value: np.ndarray) -> str:
        """A new constant."""
        name = g.add_constant(self.model, self.names.fresh(stem), value.astype(np.float32))
        self.values[name] = self.model.graph.initializer[-1]
        return name

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads `name`, which is no output of the model."""
        found = [n for n in self.readers.get(name, ()) if id(n) not in self.gone]
        if len(found) != 1 or name in self.outputs or found[0].name in self.exclude:
            return None
        return found[0] if list(found[0].input).count(name) == 1 and found[0].domain in ("", "ai.onnx") else None

    def parameters(self, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Constant weights and bias of a product."""
        w = self.constant(node.input[1])
        bias = self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        missing = len(node.input) > 2 and node.input[2] and bias is None
        return None if w is None or missing else (w, bias)

    def fold_next(self, conv: onnx.NodeProto) -> bool:
        """Conv -> Mul, Div, Add or Sub with a constant per channel, or one for all: into weights and bias."""
        node, given = self.only_reader(conv.output[0]), self.parameters(conv)
        if node is None or given is None or node.op_type not in OPS:
            return False
        own = list(node.input).index(conv.output[0])
        other, (w, bias) = self.constant(node.input[1 - own]), given
        row = None if other is None else _per_channel(other, w.ndim, w.shape[0])
        if row is None or node.op_type == "Div" and (own or not row.all()):
            return False
        match node.op_type:
            case "Mul":
                factor, shift = row, 0
            case "Div":
                factor, shift = 1 / row, 0
            case "Add":
                factor, shift = 1, row
            case _:
                factor, shift = (1, -row) if own == 0 else (-1, row)
        factor = np.broadcast_to(np.asarray(factor, float), len(row))
        offset = np.zeros(len(row)) if bias is None else bias.astype(float)
        scaled = w * factor.reshape(-1, *[1] * (w.ndim - 1))
        offset = offset * factor + shift
        if not (_finite(scaled) and _finite(offset)):
            return False
        conv.input[:] = [
            conv.input[0],
            self.add(f"{conv.name}.scaled", scaled),
            self.add(f"{conv.name}.offset", offset),
        ]
        conv.output[0] = node.output[0]
        self.gone.add(id(node))
        return True

    def fold_pad(self, node: onnx.NodeProto) -> None:
        """Pad with zeros -> Conv: pads of the convolution."""
        conv = self.only_reader(node.output[0])
        pads = self.values.get(node.input[1])
        if conv is None or conv.op_type != "Conv" or conv.input[0] != node.output[0] or pads is None:
            return
        value = self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        plain = g.attribute(node, "mode", b"constant") == b"constant" and len(node.input) < 4
        if (
            not plain
            or value is None
            or value.any()
            or g.attribute(conv, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
        ):
            return
        pads = numpy_helper.to_array(pads).reshape(2, -1)
        if pads.shape[1] < 3 or pads[:, :2].any() or (pads < 0).any():
            return
        before = g.attribute(conv, "pads", [0] * 2 * (pads.shape[1] - 2))
        if g.attribute(conv, "auto_pad", b"NOTSET") == b"VALID":
            before = [0] * len(before)
        kept = [a for a in conv.attribute if a.name not in ("pads", "auto_pad")]
        del conv.attribute[:]
        conv.attribute.extend(
            [*kept, helper.make_attribute("pads", [int(p + b) for p, b in zip(pads[:, 2:].ravel(), before)])]
        )
        conv.input[0] = node.input[0]
        self.readers.setdefault(node.input[0], []).append(conv)
        self.gone.add(id(node))

    def as_depthwise(self, node: onnx.NodeProto) -> None:
        """BatchNormalization of an image -> a depthwise convolution of one cell."""
        params = [self.constant(x) for x in node.input[1:5]]
        rank = self.ranks.get(node.input[0], 0)
        if rank not in (3, 4) or any(p is None for p in params) or g.attribute(node, "training_mode", 0):
            return
        gamma, beta, mean, var = (p.astype(float) for p in params)
        factor = gamma / np.sqrt(var + g.attribute(node, "epsilon", 1e-5))
        offset = beta - mean * factor
        if not (_finite(factor) and _finite(offset)):
            return
        w = self.add(f"{node.name}.factor", factor.reshape(-1, 1, *[1] * (rank - 2)))
        conv = helper.make_node(
            "Conv", [node.input[0], w, self.add(f"{node.name}.offset", offset)], node.output[:1], node.name,
            group=len(factor), kernel_shape=[1] * (rank - 2),
        )  # fmt: skip
        node.CopyFrom(conv)

    def as_gemm(self, node: onnx.NodeProto) -> None:
        """MatMul of matrices -> Add of a row: Gemm, whose bias is summed as an int32."""
        add, w = self.only_reader(node.output[0]), self.constant(node.input[1])
        if add is None or add.op_type != "Add" or w is None or w.ndim != 2 or self.ranks.get(node.input[0]) != 2:
            return
        bias = self.constant(next(x for x in add.input if x != node.output[0]))
        if bias is None or bias.size != w.shape[1] or bias.ndim > 2 or bias.ndim == 2 and bias.shape[0] != 1:
            return
        inputs = [*node.input, self.add(f"{node.name}.offset", bias.reshape(-1))]
        node.CopyFrom(helper.make_node("Gemm", inputs, add.output, node.name))
        self.gone.add(id(add))


def _per_channel(x: np.ndarray, rank: int, channels: int) -> np.ndarray | None:
    """A constant that broadcasts to [n, channels, ...] of `rank` dimensions as one value per channel, float64; else None."""
    if x.size == 1 and x.ndim <= rank:
        return np.full(channels, float(x.reshape(())))
    if x.size != channels or x.ndim > rank or x.ndim < rank - 1 or x.shape[x.ndim - rank + 1] != channels:
        return None
    return x.reshape(-1).astype(float)


def _finite(x: np.ndarray) -> bool:
    """Whether all values are finite in float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(x.astype(np.float32)).all())
