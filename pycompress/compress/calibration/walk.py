"""Runs two models side by side, layer after layer: a float one, and its copy whose layers are changed one by one.

What both compute at one place of the graph is kept for each sample, so a layer costs only the nodes since that place,
not those since the model's inputs. The place moves forward with the layers, wherever little has to be kept: at the
narrow tensors between a network's blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..model import graph as g
from .engine import runner
from .observe import up_to
from .spool import Spool

WIDTH = 2.0  # times the bytes of a sample: what is kept of it in each model, at most

State = dict[str, np.ndarray]


class Trail:
    """Tensors of one model, for each sample, from its inputs onwards: what was passed is not computed again."""

    def __init__(
        self,
        model: onnx.ModelProto,
        samples: Iterable[Mapping[str, np.ndarray]],
        sample: State,
        cuts: dict[int, list[str]] | None = None,
    ):
        """`samples` can be iterated more than once; `sample` is one of them. `model` keeps its nodes; its constants may change.

        `cuts` : the places where what is kept may be, if another model's are to be used
        """
        self._model, self._kept = model, samples
        self._types = g.element_types(model)
        self.order = {n.name: i for i, n in enumerate(model.graph.node)}
        self.cuts = _cuts(model, sample, self._types) if cuts is None else cuts
        self._at = 0

    def output(self, name: str) -> Iterator[np.ndarray]:
        """The first output of node `name`, for each sample. Its position must not decrease from call to call."""
        place = self.order[name]
        return self._tensor(place, place + 1, self._model.graph.node[place].output[0])

    def input(self, name: str) -> Iterator[np.ndarray]:
        """The first input of node `name`, likewise."""
        place = self.order[name]
        return self._tensor(place, place, self._model.graph.node[place].input[0])

    def _tensor(self, place: int, stop: int, tensor: str) -> Iterator[np.ndarray]:
        best = max(p for p in self.cuts if p <= place)
        if best > self._at:
            self._advance(best)
        run = self._segment(stop, [tensor])
        for state in self._kept:
            yield run(state)[tensor]

    def _advance(self, place: int) -> None:
        run, spool = self._segment(place, self.cuts[place]), Spool()
        for state in self._kept:
            spool.append(run(state))
        self._at, self._kept = place, spool

    def _segment(self, stop: int, names: list[str]) -> Callable[[State], State]:
        """A function from what is kept to the tensors `names`, which nodes before `stop` make."""
        given = self.cuts[self._at]
        wanted = [n for n in names if n not in given]
        if not wanted:
            return lambda state: {n: state[n] for n in names}
        nodes, needed = [], set(wanted)
        for node in reversed(list(self._model.graph.node)[self._at : stop]):
            if needed & set(node.output):
                nodes.append(node)
                needed |= set(g.inputs_of(node))
        infos = [helper.make_tensor_value_info(n, self._types[n], None) for n in given if n in needed]
        outs = [helper.make_tensor_value_info(n, self._types[n], None) for n in wanted]
        tensors = [t for t in self._model.graph.initializer if t.name in needed]
        graph = helper.make_graph(nodes[::-1], "segment", infos, outs, tensors)
        opsets = self._model.opset_import
        run = runner(helper.make_model(graph, opset_imports=opsets, ir_version=self._model.ir_version))
        read = [i.name for i in infos]

        def made(state: State) -> State:
            found = dict(zip(wanted, run(wanted, {n: state[n] for n in read})))
            return {n: found[n] if n in found else state[n] for n in names}

        return made


class Walk:
    """The inputs of layers in the model as it was, and in the model as its caller changes it.

    Attributes
    ----------
    whole : a copy of the model as it was given
    """

    def __init__(self, model: onnx.ModelProto, samples: Iterable[Mapping[str, np.ndarray]], sample: State):
        """`samples` can be iterated more than once; `sample` is one of them. `model` keeps its nodes."""
        self.whole = g.copied(model)
        before = Trail(self.whole, samples, sample)
        self._trails = before, Trail(model, samples, sample, before.cuts)

    def inputs(self, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The input of node `name` in both models, for each sample. Its position must not decrease from call to call."""
        return zip(*(trail.input(name) for trail in self._trails))


def _cuts(model: onnx.ModelProto, sample: State, types: Mapping[str, int]) -> dict[int, list[str]]:
    """The tensors that later nodes read, before each node where these are floats and few bytes; all inputs before the first."""
    made = {i.name: -1 for i in g.graph_inputs(model)}
    made |= {o: i for i, n in enumerate(model.graph.node) for o in n.output if o}
    fixed = set(g.constants(model))  # and what is computed from constants only, such as weights from codes
    for node in model.graph.node:
        if node.input and fixed.issuperset(g.inputs_of(node)):
            fixed |= set(node.output)
    last = {t: i for i, n in enumerate(model.graph.node) for t in g.inputs_of(n) if t in made}
    live = {p: [t for t, end in last.items() if made[t] < p <= end] for p in range(1, len(model.graph.node))}
    floats = {
        p: ts
        for p, ts in live.items()
        if len(ts) <= 2 and all(types.get(t) == TensorProto.FLOAT and t not in fixed for t in ts)
    }
    tensors = [t for t in dict.fromkeys(t for ts in floats.values() for t in ts) if t not in sample]
    found = dict(zip(tensors, runner(up_to(model, tensors))(tensors, sample))) if tensors else {}
    size = {t: x.nbytes for t, x in [*found.items(), *sample.items()]}
    limit = WIDTH * sum(x.nbytes for x in sample.values())
    return {0: list(sample)} | {p: ts for p, ts in floats.items() if ts and sum(size[t] for t in ts) <= limit}
