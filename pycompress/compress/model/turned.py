"""Moves transpositions of images behind what works element by element, where they meet their inverse and both go.

Converters from channels-last frameworks put one before and one after each convolution. What stands between, a batch norm written
as Sub, Mul and Add, or a residual sum, is then next to its convolution, and can be folded into it.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx
from onnx import helper, numpy_helper

from . import graph as g

UNARY = ("Relu", "LeakyRelu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu", "Erf", "Exp", "Abs", "Neg",
         "Sqrt", "Softplus", "Cast", "Identity")  # fmt: skip
BROADCAST = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu")
REDUCE = ("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin")


def sink_transposes(model: onnx.ModelProto, exclude: Container[str] = ()) -> None:
    """Moves each Transpose down as far as it goes, in place, if fewer are left then; nodes named in `exclude` stay."""
    if sum(n.op_type == "Transpose" for n in model.graph.node) < 2:
        return
    sinking = _Sinking(model, exclude)
    nodes = _alive(sinking.nodes(), g.outputs(model))
    if _count(nodes) < _count(model.graph.node):
        for name, value in sinking.made.items():
            g.add_constant(model, name, value)
        g.set_nodes(model, nodes)
        g.drop_unused(model)


class _Sinking:
    """The nodes of a model, rewritten one after the other."""

    def __init__(self, model: onnx.ModelProto, exclude: Container[str]):
        self.model, self.exclude, self.names = model, exclude, g.Names(model)
        self.values, self.ranks, self.outputs = g.constants(model), g.ranks(model), g.outputs(model)
        self.views: dict[str, tuple[str, tuple[int, ...]]] = {}  # tensor: (what it is a transposition of, perm)
        self.same: dict[str, str] = {}  # tensor: the one that it equals
        self.made: dict[str, np.ndarray] = {}  # new constants
        self.kept: list[onnx.NodeProto] = []

    def nodes(self) -> list[onnx.NodeProto]:
        """All nodes, those that nobody reads included."""
        for given in self.model.graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(given)
            for old in dict.fromkeys(g.inputs_of(node)):
                if old in self.same:
                    g.rename_input(node, old, self.same[old])
            standard = node.domain in ("", "ai.onnx") and node.name not in self.exclude
            if not (standard and (self.composed(node) if node.op_type == "Transpose" else self.sunk(node))):
                self.kept.append(node)
        return self.kept

    def composed(self, node: onnx.NodeProto) -> bool:
        """Whether `node`, a Transpose, is dealt with: of a transposition it is another one of the same tensor, or nothing."""
        source, out = node.input[0], node.output[0]
        rank = self.ranks.get(source)
        if rank is None:
            return False
        perm = tuple(g.attribute(node, "perm", range(rank)[::-1]))
        source, before = self.views.get(source, (source, tuple(range(rank))))
        perm = tuple(before[i] for i in perm)
        if perm == tuple(range(rank)) and out not in self.outputs:
            self.same[out] = source
            return True
        self.views[out] = source, perm
        self.kept.append(helper.make_node("Transpose", [source], [out], node.name, perm=perm))
        return True

    def sunk(self, node: onnx.NodeProto) -> bool:
        """Whether `node` is now one on the tensors whose transpositions it reads, with a transposition behind it."""
        data = [name for name in node.input if name and name not in self.values]
        if not data or any(name not in self.views for name in data) or len(node.output) != 1:
            return False
        perms = {self.views[name][1] for name in data}
        if len(perms) > 1:
            return False
        (perm,) = perms
        made = self.turned(node, perm)
        if made is None:
            return False
        for i, name in enumerate(made.input):
            if name in self.views:
                made.input[i] = self.views[name][0]
        out = node.output[0]
        if node.op_type in REDUCE and not g.attribute(node, "keepdims", 1):
            self.kept.append(made)  # what is left has the same order
            return True
        made.output[0] = self.names.fresh(f"{out}.turned")
        name = self.names.fresh(f"{node.name}.turned")
        self.kept += [made, helper.make_node("Transpose", [made.output[0]], [out], name, perm=perm)]
        self.views[out] = made.output[0], perm
        self.ranks[made.output[0]] = self.ranks[out] = len(perm)
        return True

    def turned(self, node: onnx.NodeProto, perm: tuple[int, ...]) -> onnx.NodeProto | None:
        """`node` with constants and attributes for what it reads before `perm`; None if that is not possible."""
        made = onnx.NodeProto()
        made.CopyFrom(node)
        if node.op_type in UNARY:
            return made
        if node.op_type in BROADCAST or node.op_type == "Concat":
            for i, name in enumerate(node.input):
                if name in self.values:
                    value = numpy_helper.to_array(self.values[name])
                    if value.ndim > len(perm):
                        return None
                    if value.size > 1:
                        made.input[i] = self.constant(name, _before(value, perm))
            if node.op_type == "Concat":
                _set(made, "axis", perm[g.attribute(node, "axis")])
            return made
        if node.op_type == "Pad" and len(node.input) < 4 and len(node.input) > 1 and node.input[1] in self.values:
            pads = numpy_helper.to_array(self.values[node.input[1]]).reshape(2, -1)
            if pads.shape[1] != len(perm):
                return None
            made.input[1] = self.constant(node.input[1], pads[:, np.argsort(perm)].ravel())
            return made
        return self.reduced(node, made, perm) if node.op_type in REDUCE else None

    def reduced(self, node: onnx.NodeProto, made: onnx.NodeProto, perm: tuple[int, ...]) -> onnx.NodeProto | None:
        """A reduction of the same dimensions, which have other numbers."""
        as_input = len(node.input) > 1 and node.input[1]
        axes = numpy_helper.to_array(self.values[node.input[1]]).ravel() if as_input else g.attribute(node, "axes", [])
        if not len(axes):
            return None
        axes = {int(a) % len(perm) for a in axes}
        left = [perm[i] for i in range(len(perm)) if i not in axes]
        if not g.attribute(node, "keepdims", 1) and left != sorted(left):
            return None
        numbers = sorted(perm[a] for a in axes)
        if as_input:
            made.input[1] = self.constant(node.input[1], np.array(numbers, np.int64))
        else:
            _set(made, "axes", numbers)
        return made

    def constant(self, stem: str, value: np.ndarray) -> str:
        name = self.names.fresh(f"{stem}.turned")
        self.made[name] = np.ascontiguousarray(value)
        return name


def _before(value: np.ndarray, perm: tuple[int, ...]) -> np.ndarray:
    """What `value`, which broadcasts to a tensor transposed by `perm`, is for that tensor."""
    whole = value.reshape([1] * (len(perm) - value.ndim) + list(value.shape))
    return whole.transpose(np.argsort(perm))


def _set(node: onnx.NodeProto, key: str, value) -> None:
    kept = [a for a in node.attribute if a.name != key]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(key, value)])


def _count(nodes) -> int:
    return sum(n.op_type == "Transpose" for n in nodes)


def _alive(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes without transpositions that nobody reads."""
    read, alive = set(outputs), []
    for node in reversed(nodes):
        if node.op_type != "Transpose" or read & set(node.output):
            alive.append(node)
            read |= set(g.inputs_of(node))
    return alive[::-1]
