"""Which channels of a network belong together: what has to go from every tensor when one channel goes.

One walk over the nodes gives each tensor at most one tracked axis, with an id for each position on it
(`Label`). Operators that keep channels apart hand the ids on or unite them (union-find); products with
constant weights end them and begin new ones. What is not understood pins the channels it meets: they stay.
So a channel leaves its coupled set only through columns of constant weights, and taking it away everywhere
equals zeroing these columns, whatever activations do to zero.
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
    """The channels that a node makes or reads with its weights, as positions on an axis of them."""

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
    free : the sets of coupled channels that may go, by the root of their ids
    pinned : why the others stay, by their roots
    """

    layers: list[str] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    pinned: dict[int, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return len(self.free) + len(self.pinned)


class Pin(Exception):
    """A node is not understood: its channels stay."""


class Dependencies:
    """The coupled channels of `model`, whose constants are initializers.

    Attributes
    ----------
    labels : the tracked axis of each tensor that has one
    makers, readers : edges by weights; a depthwise convolution is a maker only
    slices : {constant: {axis: ids}}, what goes from constants
    counts : (node, attribute, ids) and (node, position, ids): an attribute, or an entry of the shape that is
        input 1, which is the number of channels
    refused : why channels do not pass a node with weights, by its name
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
        """Ids of `count` new channels; a single one stays."""
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
        """What `a` and `b` name is the same, position by position."""
        for i, j in zip(self.roots(a).tolist(), self.roots(b).tolist()):
            i, j = self.root(i), self.root(j)
            if i != j:
                self.parent[j] = i
                if j in self.reasons:
                    self.reasons.setdefault(i, self.reasons.pop(j))

    def pin(self, ids: np.ndarray, why: str) -> None:
        """Channels `ids` stay."""
        for i in self.roots(ids).tolist():
            self.reasons.setdefault(i, why)

    # what rules call

    def use(self, name: str, axes: dict[int, np.ndarray], why: str) -> None:
        """A node reads constant `name`, whose `axes` run over channels; the others stay as they are."""
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
        """Constant `name`."""
        if name not in self.constants:
            raise Pin(f"{name!r} is not constant")
        return numpy_helper.to_array(self.constants[name])

    def weight(self, node: onnx.NodeProto) -> Sequence[int]:
        """The shape of the constant weights, input 1 of `node`."""
        if len(node.input) < 2 or node.input[1] not in self.constants:
            raise Pin("its weights are not constant")
        return tuple(self.constants[node.input[1]].dims)

    def label(self, name: str, axis: int) -> np.ndarray | None:
        """The ids of `name` on `axis`; None, and what is tracked elsewhere stays, where that is not the tracked axis."""
        found = self.labels.get(name)
        if found is not None and found.axis != axis:
            self.pin(found.ids, f"{name!r} is read along another axis")
            return None
        return None if found is None else found.ids

    def make(self, node: onnx.NodeProto, axis: int, ids: np.ndarray, weight_axis: int) -> None:
        """`node` makes channels `ids` on `axis` of its output."""
        self.labels[node.output[0]] = Label(axis, ids)
        self.makers.append(Edge(node, node.input[1], weight_axis, ids))

    def fix(self, name: str, why: str) -> None:
        """Tensor or constant `name` stays as it is."""
        if name in self.labels:
            self.pin(self.labels[name].ids, why)
        elif name in self.constants:
            self.uses.setdefault(name, []).append(({}, why))

    def finish(self, exclude: Iterable[str]) -> None:
        """After the walk: what leaves the model stays, and what nodes `exclude` make."""
        for name in g.outputs(self.model):
            self.fix(name, f"graph output {name!r}")
        exclude = set(exclude)
        for node in self.model.graph.node:
            if node.name in exclude:
                for name in node.output:
                    self.fix(name, f"node {node.name!r} is excluded")
        self._reconcile()

    def _reconcile(self) -> None:
        """What goes from each constant. Where several nodes read one, their channels are the same."""
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
        """The channels by the nodes that make them, in the order of the nodes."""
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
    """The dimensions of each tensor whose rank is known; a word, of its own if unnamed, where one is open."""
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
