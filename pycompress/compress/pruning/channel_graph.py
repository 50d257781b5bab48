"""Finds coupled channels: the channels of all tensors that must be removed together with one channel.

One walk over the nodes gives each tensor at most one tracked axis, with an id for each position on it
(`Label`). Operators that do not mix channels pass the ids on or unite them (union-find); products with
constant weights consume them and create new ones. An operator that is not understood pins the channels that
it reads: they stay. So a channel influences others only through columns of constant weights, and removing it
everywhere is the same as zeroing these columns, whatever activations make of zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from ...errors import ModelError
from ..model import graph as g


@dataclass(frozen=True, eq=False)
class Label:
    """The tracked axis of a tensor, and the id of each position on it."""

    axis: int
    ids: np.ndarray


@dataclass(frozen=True, eq=False)
class Edge:
    """The channels that a node makes or reads with its weights, as positions on an axis of the weights."""

    node: onnx.NodeProto
    weight: str
    axis: int
    ids: np.ndarray


@dataclass(eq=False)
class Group:
    """Channels that the same nodes make.

    Attributes
    ----------
    layers : names of the nodes with weights that make them
    free : the sets of coupled channels that may be removed, by the root of their ids
    pinned : by root, why the others stay
    """

    layers: list[str] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    pinned: dict[int, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return len(self.free) + len(self.pinned)


class Pin(Exception):
    """Raised for a node that is not understood: its channels stay."""


class Dependencies:
    """The coupled channels of `model`, whose constants are initializers.

    Attributes
    ----------
    labels : the tracked axis of each tensor that has one
    makers, readers : edges by weights; a depthwise convolution is only a maker
    slices : {constant: {axis: ids}}, what to remove from constants
    counts : (node, attribute, ids) and (node, position, ids): an attribute, or an entry of the shape in input 1,
        that is the number of channels
    refused : by name of a node with weights, why its channels cannot be followed
    """

    def __init__(self, model: onnx.ModelProto):
        self.model, self.constants, self.producers = model, g.constants(model), g.producers(model)
        self.dims = _dimensions(model)
        self.parent: list[int] = []
        self.reasons: dict[int, str] = {}
        self.labels: dict[str, Label] = {}
        self.makers: list[Edge] = []
        self.readers: list[Edge] = []
        self.uses: dict[str, list[tuple[dict[int, np.ndarray], str]]] = {}
        self.counts: list[tuple[onnx.NodeProto, str | int, np.ndarray]] = []
        self.refused: dict[str, str] = {}
        self.slices: dict[str, dict[int, np.ndarray]] = {}

    # union-find

    def fresh(self, count: int) -> np.ndarray:
        """Ids of `count` new channels; a single channel is pinned."""
        ids = np.arange(len(self.parent), len(self.parent) + count)
        self.parent.extend(ids.tolist())
        if count == 1:
            self.pin(ids, "a single channel")
        return ids

    def root(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = i = self.parent[self.parent[i]]
        return i

    def roots(self, ids: np.ndarray) -> np.ndarray:
        return np.array([self.root(i) for i in ids.tolist()], int)

    def unite(self, a: np.ndarray, b: np.ndarray) -> None:
        """Unites the channels `a` and `b`, position by position."""
        for i, j in zip(self.roots(a).tolist(), self.roots(b).tolist()):
            i, j = self.root(i), self.root(j)
            if i != j:
                self.parent[j] = i
                if j in self.reasons:
                    self.reasons.setdefault(i, self.reasons.pop(j))

    def pin(self, ids: np.ndarray, why: str) -> None:
        """Marks the channels `ids` as not removable."""
        for i in self.roots(ids).tolist():
            self.reasons.setdefault(i, why)

    # the functions that rules call

    def use(self, name: str, axes: dict[int, np.ndarray], why: str) -> None:
        """Records that a node reads the constant `name`, whose `axes` run over channels; other axes stay as they are."""
        shape = self.constants[name].dims
        for axis, ids in axes.items():
            if shape[axis] != len(ids):
                raise Pin(f"{name!r} has {shape[axis]} positions on axis {axis} for {len(ids)} channels")
        self.uses.setdefault(name, []).append((axes, why))

    def rank(self, name: str) -> int:
        if name not in self.dims:
            raise Pin(f"the rank of {name!r} is not known")
        return len(self.dims[name])

    def value(self, name: str) -> np.ndarray:
        """The value of the constant `name`."""
        if name not in self.constants:
            raise Pin(f"{name!r} is not constant")
        return numpy_helper.to_array(self.constants[name])

    def weight(self, node: onnx.NodeProto) -> Sequence[int]:
        """The shape of the constant weights in input 1 of `node`."""
        if len(node.input) < 2 or node.input[1] not in self.constants:
            raise Pin("its weights are not constant")
        return tuple(self.constants[node.input[1]].dims)

    def label(self, name: str, axis: int) -> np.ndarray | None:
        """The ids of `name` on `axis`; if another axis is tracked, pins its channels and returns None."""
        found = self.labels.get(name)
        if found is not None and found.axis != axis:
            self.pin(found.ids, f"{name!r} is read along another axis")
            return None
        return None if found is None else found.ids

    def make(self, node: onnx.NodeProto, axis: int, ids: np.ndarray, weight_axis: int) -> None:
        """Records that `node` makes the channels `ids` on `axis` of its output."""
        self.labels[node.output[0]] = Label(axis, ids)
        self.makers.append(Edge(node, node.input[1], weight_axis, ids))

    def fix(self, name: str, why: str) -> None:
        """Pins all channels of the tensor or constant `name`."""
        if name in self.labels:
            self.pin(self.labels[name].ids, why)
        elif name in self.constants:
            self.uses.setdefault(name, []).append(({}, why))

    def finish(self, exclude: Iterable[str]) -> None:
        """After the walk: pins the channels of the model's outputs, and those that the nodes `exclude` make."""
        for name in g.outputs(self.model):
            self.fix(name, f"graph output {name!r}")
        exclude = set(exclude)
        for node in self.model.graph.node:
            if node.name in exclude:
                for name in node.output:
                    self.fix(name, f"node {node.name!r} is excluded")
        self._reconcile()

    def _reconcile(self) -> None:
        """Determines what to remove from each constant. If several nodes read it, their channels are united."""
        for name, uses in self.uses.items():
            for axis in {a for axes, _ in uses for a in axes}:
                found = [axes[axis] for axes, _ in uses if axis in axes]
                for ids in found[1:]:
                    self.unite(found[0], ids)
                if len(found) < len(uses):
                    why = next(why for axes, why in uses if axis not in axes)
                    self.pin(found[0], f"{why} reads {name!r} whole")
                self.slices.setdefault(name, {})[axis] = found[0]

    def groups(self) -> list[Group]:
        """The channels, grouped by the nodes that make them, in the order of the nodes."""
        joined: dict[int, int] = {}

        def find(i):
            while joined.setdefault(i, i) != i:
                i = joined[i]
            return i

        for edge in self.makers:
            first, *rest = self.roots(edge.ids).tolist()
            for other in rest:
                joined[find(other)] = find(first)
        found: dict[int, Group] = {}
        seen: set[int] = set()
        for edge in self.makers:
            roots = self.roots(edge.ids).tolist()
            group = found.setdefault(find(roots[0]), Group())
            group.layers.append(edge.node.name)
            for root in dict.fromkeys(r for r in roots if r not in seen):
                seen.add(root)
                if root in self.reasons:
                    group.pinned[root] = self.reasons[root]
                else:
                    group.free.append(root)
        return list(found.values())


def _dimensions(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    """The dimensions of each tensor of known rank; an open dimension is its name, or a unique word if it has none."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"shapes do not fit together: {error}") from error
    dims: dict[str, list[int | str]] = {t.name: list(t.dims) for t in inferred.initializer}
    for info in [*inferred.value_info, *inferred.input, *inferred.output]:
        kind = info.type.tensor_type
        if kind.HasField("shape"):
            dims[info.name] = [
                d.dim_value if d.HasField("dim_value") else d.dim_param or f"{info.name}[{i}]"
                for i, d in enumerate(kind.shape.dim)
            ]
    return dims
